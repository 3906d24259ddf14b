#!/bin/sh
# The peer of `agent_join_overhead`: what a good script does to make a K3s agent of a new VM, with a token that somebody
# has brought it. One step after the other, each checked, and nothing waited for that is not needed.
#   NODE ADDRESS SERVER TOKEN LABEL VERSION MIRROR CA    as on the other side
set -eu
now() { cut -d' ' -f1 /proc/uptime; }
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

# Its configuration, and its service as its own installer writes it.
mkdir -p /etc/rancher/k3s
interface=$(ip -json -4 address | jq -r --arg a "$ADDRESS" '.[] | select(.addr_info[].local == $a) | .ifname')
(
    umask 077
    cat > /etc/rancher/k3s/config.yaml <<EOF
server: $SERVER
token: $TOKEN
node-name: $NODE
node-ip: $ADDRESS
node-label: $LABEL
flannel-iface: $interface
EOF
)
cat > /etc/systemd/system/k3s-agent.service <<EOF
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target
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
ExecStart=/usr/local/bin/k3s agent
EOF
systemctl daemon-reload
systemctl enable --quiet k3s-agent
systemctl start --no-block k3s-agent
echo "start $(now)"
