#!/bin/sh
# The peer of `install_to_ready_overhead`: what a good script does to make a K3s server with a data volume of a new VM.
# One step after the other, each checked, and nothing waited for that is not needed.
#   NODE ADDRESS VERSION MIRROR CA DEVICE MOUNT    as in the settings of the other side
set -eu
. "$(dirname "$0")/ready.sh"
echo "began $(now)"

# K3s: downloaded, checked by the release's own checksums, put in place at once.
tag=$(printf %s "$VERSION" | sed 's/+/%2B/')
curl -sSf --cacert "$CA" -o /usr/local/bin/.k3s.new "$MIRROR/$tag/k3s"
curl -sSf --cacert "$CA" "$MIRROR/$tag/sha256sum-amd64.txt" |
    sed -n 's|^\([0-9a-f]\{64\}\)  k3s$|\1  /usr/local/bin/.k3s.new|p' | sha256sum --check --strict --status
chmod 0755 /usr/local/bin/.k3s.new
mv /usr/local/bin/.k3s.new /usr/local/bin/k3s
for name in kubectl crictl ctr; do
    command -v $name >/dev/null || ln -s k3s /usr/local/bin/$name
done
echo "download $(now)"

# The volume: formatted only when blkid finds nothing at all on it.
while [ ! -b "$DEVICE" ]; do sleep 0.1; done
status=0
blkid -p "$DEVICE" >/dev/null || status=$?
[ $status = 2 ] || { echo "$DEVICE is not blank" >&2; exit 1; }
mkfs.ext4 -q -m 0 -L data "$DEVICE"
echo "format $(now)"
unit=$(systemd-escape --path --suffix=mount "$MOUNT")
cat > "/etc/systemd/system/$unit" <<EOF
[Unit]
Description=Data of Kubernetes
[Mount]
What=$DEVICE
Where=$MOUNT
Type=ext4
Options=nofail
[Install]
WantedBy=multi-user.target
EOF

# K3s's configuration, and its service as its own installer writes it, held back until the volume is there.
mkdir -p /etc/rancher/k3s
interface=$(ip -json -4 address | jq -r --arg a "$ADDRESS" '.[] | select(.addr_info[].local == $a) | .ifname')
(
    umask 077
    cat > /etc/rancher/k3s/config.yaml <<EOF
node-name: $NODE
node-ip: $ADDRESS
advertise-address: $ADDRESS
flannel-iface: $interface
EOF
)
cat > /etc/systemd/system/k3s.service <<EOF
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target
RequiresMountsFor=$MOUNT
AssertPathIsMountPoint=$MOUNT
[Install]
WantedBy=multi-user.target
[Service]
Type=notify
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s server
EOF
systemctl daemon-reload
systemctl enable --quiet --now "$unit"
mountpoint -q "$MOUNT"
echo "mount $(now)"
systemctl enable --quiet k3s
systemctl start --no-block k3s
echo "start $(now)"
wait_ready
echo "ready $(now)"
