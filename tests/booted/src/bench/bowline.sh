#!/bin/sh
# Our side of `install_to_ready_overhead`: the settings are there, the package is installed, and nothing else is done.
#   NODE PACKAGE
set -eu
. "$(dirname "$0")/ready.sh"
echo "dpkg $(now)"
DEBIAN_FRONTEND=noninteractive dpkg --install "$PACKAGE" >/dev/null
echo "installed $(now)"
wait_ready
echo "ready $(now)"
# The package's installation starts the service before it ends itself: the clock runs from there.
began=$(systemctl show --property=InactiveExitTimestampMonotonic --value bowline)
echo "began $((began / 1000000)).$(printf %06d $((began % 1000000)))"
# What the daemon itself used until then, children included, and how often it looked.
echo "cpu $(awk '{print ($14 + $15 + $16 + $17) / 100}' "/proc/$(systemctl show --property=MainPID --value bowline)/stat")"
echo "looks $(curl -sSf http://127.0.0.1:9787/metrics | sed -n 's/^bowline_look_seconds_count //p')"
