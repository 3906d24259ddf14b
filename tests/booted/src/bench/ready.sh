# Read by both sides of `install_to_ready_overhead`, so that both see the end by the same eyes, every tenth of a second.

# Seconds, of a clock that nobody sets.
now() { cut -d' ' -f1 /proc/uptime; }

# Waits until the API says that the Node is Ready.
wait_ready() {
    tls=/var/lib/rancher/k3s/server/tls
    until [ -e $tls/client-admin.key ] &&
        curl -s --max-time 2 --cacert $tls/server-ca.crt --cert $tls/client-admin.crt --key $tls/client-admin.key \
            "https://127.0.0.1:6443/api/v1/nodes/$NODE" | tr -d ' \n' | grep -q '"type":"Ready","status":"True"'; do
        sleep 0.1
    done
}
