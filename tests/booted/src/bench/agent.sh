#!/bin/sh
# Our side of `agent_join_overhead`: the settings are there, the package is installed, and nothing else is done.
#   PACKAGE
set -eu
now() { cut -d' ' -f1 /proc/uptime; }
echo "dpkg $(now)"
DEBIAN_FRONTEND=noninteractive dpkg --install "$PACKAGE" >/dev/null
echo "installed $(now)"
# The package's installation starts the service before it ends itself: the clock runs from there.
began=$(systemctl show --property=InactiveExitTimestampMonotonic --value bowline)
echo "began $((began / 1000000)).$(printf %06d $((began % 1000000)))"
