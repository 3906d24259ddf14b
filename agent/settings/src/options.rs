//! Reads `[cluster.config]`: any option of K3s but those that Bowline decides.

use std::collections::BTreeMap;

use crate::complaint::{Complaint, excerpt};
use crate::k3s::{ConfigScalar, ConfigValue};
use crate::network;
use crate::origins::is_secret_option;
use crate::reader::{Reader, Section};
use crate::secret::Secret;
use crate::suggest;
use crate::tree::{Item, Kind};

/// Options that Bowline decides itself, or that cannot work with it, and what to
/// do instead.
const DECIDED: [(&str, &str); 20] = [
    ("node-ip", "set `address` in [node]: Bowline passes on the address it finds there"),
    ("node-external-ip", "set `external-address` in [node]"),
    ("node-name", "set `name` in [node]"),
    ("with-node-id", "set `name` in [node]"),
    ("node-label", "set `labels` in [node]: a wrong label here stops the kubelet"),
    ("node-taint", "set `taints` in [node]"),
    ("advertise-address", "set `address` in [node]: the API is advertised there"),
    ("flannel-iface", "set `address` in [node]: flannel uses the interface that has it"),
    ("data-dir", "mount a [[volume]] at /var/lib/rancher instead"),
    ("config", "write the options themselves here"),
    ("server", "set `servers` in [cluster]"),
    ("cluster-reset", "run `k3s server --cluster-reset` by hand: from here each start would do it"),
    ("cluster-reset-restore-path", "run `k3s server --cluster-reset` by hand"),
    ("rootless", "remove it: Bowline runs K3s as a system service"),
    ("disable-agent", "remove it: a server of Bowline's is a node, too"),
    ("disable-apiserver", "remove it: Bowline asks this node's own API"),
    ("write-kubeconfig", "copy /etc/rancher/k3s/k3s.yaml instead: Bowline needs it there"),
    ("disable-cloud-controller", "remove it: without it nobody gives the node its addresses"),
    ("cluster-secret", "write `token`, its name since K3s 1.0"),
    ("no-flannel", "write flannel-backend = \"none\""),
];

/// Kubelet flags inside `kubelet-arg` that Bowline or K3s decides.
const KUBELET: [(&str, &str); 6] = [
    ("node-labels", "set `labels` in [node]: a wrong label here stops the kubelet"),
    ("node-ip", "set `address` in [node]"),
    ("hostname-override", "set `name` in [node]"),
    ("register-with-taints", "set `taints` in [node]"),
    ("kubeconfig", "remove it: K3s writes it"),
    ("root-dir", "mount a [[volume]] at /var/lib/kubelet instead"),
];

/// The options of `k3s server` 1.34, to tell a slip of the pen from a new one.
const OPTIONS: &str = "\
    advertise-port agent-token agent-token-file airgap-extra-registry alsologtostderr \
    bind-address cluster-cidr cluster-dns cluster-domain cluster-init \
    container-runtime-endpoint datastore-cafile datastore-certfile datastore-endpoint \
    datastore-keyfile debug default-local-storage-path default-runtime disable \
    disable-apiserver-lb disable-controller-manager disable-default-registry-endpoint \
    disable-etcd disable-helm-controller disable-kube-proxy disable-network-policy \
    disable-scheduler docker egress-selector-mode embedded-registry enable-pprof \
    etcd-arg etcd-disable-snapshots etcd-expose-metrics etcd-s3 etcd-s3-access-key \
    etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-config-secret etcd-s3-endpoint \
    etcd-s3-endpoint-ca etcd-s3-folder etcd-s3-insecure etcd-s3-proxy etcd-s3-region \
    etcd-s3-retention etcd-s3-secret-key etcd-s3-session-token etcd-s3-skip-ssl-verify \
    etcd-s3-timeout etcd-snapshot-compress etcd-snapshot-dir etcd-snapshot-name \
    etcd-snapshot-reconcile-interval etcd-snapshot-retention etcd-snapshot-schedule-cron \
    flannel-backend flannel-cni-conf flannel-conf flannel-external-ip flannel-ipv6-masq \
    helm-job-image https-listen-port image-credential-provider-bin-dir \
    image-credential-provider-config image-service-endpoint kine-tls kube-apiserver-arg \
    kube-cloud-controller-arg kube-cloud-controller-manager-arg kube-controller-arg \
    kube-controller-manager-arg kube-proxy-arg kube-scheduler-arg kubelet-arg \
    lb-server-port log node-external-dns node-internal-dns nonroot-devices pause-image \
    prefer-bundled-bin private-registry protect-kernel-defaults resolv-conf \
    secrets-encryption secrets-encryption-provider selinux service-cidr \
    service-node-port-range servicelb-namespace snapshotter supervisor-metrics \
    system-default-registry tls-san tls-san-security token token-file v vmodule vpn-auth \
    vpn-auth-file write-kubeconfig-group write-kubeconfig-mode";

/// Whether K3s has an option of this name.
pub(crate) fn is_option(name: &str) -> bool {
    OPTIONS.split(' ').any(|option| option == name)
}

/// Reads the table.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, section: &Section<'a>) -> BTreeMap<String, ConfigValue> {
    let mut options = BTreeMap::new();
    for (key, item) in section.table {
        let path = section.key(key);
        let name = key.strip_suffix('+').unwrap_or(key);
        match check_name(name) {
            Ok(Some(doubt)) => reader.warn(item.key, &path, doubt),
            Ok(None) => {}
            Err(complaint) => {
                reader.complain_of_key(item.key, &path, complaint);
                continue;
            }
        }
        // Under its own name, whether it adds or not: of one file alone it still has its `+`, of all of them it has none.
        if let Some(value) = value(reader, &section.key(name), name, item) {
            check_secret(reader, &path, &value, item);
            network::check_option(reader, &path, name, item);
            options.insert(key.clone(), value);
        }
    }
    options
}

/// Whether an option can be set here; `Ok(Some)` is a doubt.
fn check_name(name: &str) -> Result<Option<Complaint>, Complaint> {
    if let Some((_, instead)) = DECIDED.iter().find(|(decided, _)| *decided == name) {
        return Err(Complaint::new(format!("the K3s option `{name}` cannot be set here")).suggest(*instead));
    }
    if is_option(name) {
        return Ok(None);
    }
    let all = OPTIONS.split(' ').chain(DECIDED.iter().map(|(name, _)| *name));
    let plain = name.to_lowercase().replace('_', "-");
    let plain = plain.trim_start_matches('-');
    let near = all
        .map(|known| (suggest::distance(plain, known), known))
        .filter(|(far, known)| *far <= suggest::limit(known).min(2))
        .min();
    let shown = excerpt(name);
    if let Some((_, known)) = near {
        return Err(Complaint::new(format!("K3s has no option `{shown}`")).suggest(format!("did you mean `{known}`?")));
    }
    let shape = name.len() > 1
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !shape {
        return Err(Complaint::new(format!("`{shown}` is not the name of a K3s option"))
            .suggest("write the long name without its dashes, such as flannel-backend"));
    }
    Ok(Some(Complaint::new(format!(
        "`{shown}` is no option of K3s 1.34 that Bowline knows; it is passed on as \
         it is, and K3s skips what it does not know"
    ))))
}

fn value<'a>(reader: &mut Reader<'a>, path: &str, name: &str, item: &'a Item) -> Option<ConfigValue> {
    let Kind::List(items) = &item.kind else {
        return scalar(reader, path, name, item, "a value or a list").map(ConfigValue::One);
    };
    let values: Vec<Option<ConfigScalar>> =
        items.iter().map(|item| scalar(reader, path, name, item, "plain values in its list")).collect();
    values.into_iter().collect::<Option<_>>().map(ConfigValue::Many)
}

fn scalar<'a>(reader: &mut Reader<'a>, path: &str, name: &str, item: &'a Item, wanted: &str) -> Option<ConfigScalar> {
    let complaint = match &item.kind {
        Kind::Text(text) => {
            let flag = text.trim_start_matches('-').split('=').next().unwrap_or_default();
            let decided = KUBELET.iter().find(|(decided, _)| *decided == flag);
            if name == "kubelet-arg"
                && let Some((flag, instead)) = decided
            {
                Complaint::new(format!("the kubelet's `{flag}` cannot be set here")).suggest(*instead)
            } else if text.contains('\0') {
                Complaint::new(format!("`{path}` has a NUL character in it"))
            } else if is_secret_option(name, text) {
                return Some(ConfigScalar::Secret(Secret::new(text)));
            } else {
                return Some(ConfigScalar::Text(text.clone()));
            }
        }
        Kind::Bool(value) => return Some(ConfigScalar::Bool(*value)),
        Kind::Integer(Some(number)) => return Some(ConfigScalar::Integer(*number)),
        Kind::Integer(None) => Complaint::new(format!("`{path}` is too large a number")),
        Kind::Float(_) | Kind::Time(_) => {
            Complaint::new(format!("`{path}` is {}, expected {wanted}", item.kind.noun())).suggest("put it in quotes")
        }
        kind => Complaint::new(format!("`{path}` is {}, expected {wanted}", kind.noun())),
    };
    reader.complain(item.at, path, complaint);
    None
}

/// The same for an option that holds a secret.
fn check_secret<'a>(reader: &mut Reader<'a>, path: &str, value: &ConfigValue, item: &'a Item) {
    let secret = |scalar: &ConfigScalar| matches!(scalar, ConfigScalar::Secret(_));
    let holds = match value {
        ConfigValue::One(scalar) => secret(scalar),
        ConfigValue::Many(scalars) => scalars.iter().any(secret),
    };
    if holds {
        check_readers(reader, path, item);
    }
}

/// Refuses a secret that is in a file that others can read.
pub(crate) fn check_readers<'a>(reader: &mut Reader<'a>, path: &str, item: &'a Item) {
    let Some(file) = reader.sources().file(item.key) else {
        return;
    };
    let open = file.mode & 0o077 != 0;
    if !open && file.uid == 0 {
        return;
    }
    let shown = file.path.display();
    let (why, remedy) = if file.uid != 0 {
        (
            format!("this file belongs to user {} instead of root", file.uid),
            format!("chown root: {shown} && chmod 600 {shown}"),
        )
    } else {
        (format!("others can read this file (mode {:04o})", file.mode & 0o7777), format!("chmod 600 {shown}"))
    };
    let message = format!("`{path}` is a secret, and {why}");
    if reader.drafts {
        let message = format!("{message}: Bowline takes it only from a file of root's with mode 0600");
        reader.warn(item.key, path, Complaint::new(message).suggest("`install -m 600` as root puts it in its place"));
    } else {
        reader.complain(item.key, path, Complaint::new(message).suggest(remedy));
    }
}
