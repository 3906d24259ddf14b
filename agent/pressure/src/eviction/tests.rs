//! Thresholds, by configurations as they are written.

use super::*;

const GI: u64 = 1 << 30;
/// What K3s 1.34 writes, as far as it matters here.
const DEFAULTS: Text = (
    "00-k3s-defaults.conf",
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDomain: cluster.local\n\
     evictionHard:\n  imagefs.available: 5%\n  nodefs.available: 5%\n\
     evictionMinimumReclaim:\n  imagefs.available: 10%\n  nodefs.available: 10%\n",
);

fn arguments(of: &[&str]) -> Vec<String> {
    of.iter().map(|one| one.to_string()).collect()
}

/// Free bytes and inodes of nodefs, then of imagefs, where eviction begins on 100 GiB with a million inodes.
fn begins(defaults: Defaults, files: &[Text], given: &[&str]) -> [Option<u64>; 4] {
    let eviction = read(defaults, files, &arguments(given)).unwrap();
    let (nodefs, imagefs) = (eviction.nodefs.begins(100 * GI, 1_000_000), eviction.imagefs.begins(100 * GI, 1_000_000));
    // A percentage is a 32-bit number, so that 5 % of 100 GiB is 5 GiB and some bytes.
    let round = |bytes: u64| (bytes as f64 / (1 << 20) as f64).round() as u64;
    [nodefs.bytes.map(round), nodefs.inodes, imagefs.bytes.map(round), imagefs.inodes]
}

#[test]
fn where_eviction_begins() {
    const SOFT: &str = "evictionSoft: {nodefs.available: 15%}\nevictionSoftGracePeriod: {nodefs.available: 2m}\n";
    let k3s = Defaults::K3s;
    type Row<'a> = (&'a str, Defaults, &'a [Text<'a>], &'a [&'a str], [Option<u64>; 4]);
    let rows: [Row; 15] = [
        ("K3s as it is", k3s, &[DEFAULTS], &[], [Some(5120), None, Some(5120), None]),
        ("K3s that has not started yet", k3s, &[], &[], [Some(5120), None, Some(5120), None]),
        (
            "an option replaces all",
            k3s,
            &[DEFAULTS],
            &["eviction-hard=nodefs.available<10%,nodefs.inodesFree<5%"],
            [Some(10_240), Some(50_000), None, None],
        ),
        ("with hyphens", k3s, &[DEFAULTS], &["--eviction-hard=imagefs.available<1Gi"], [None, None, Some(1024), None]),
        (
            "given twice, they add up",
            k3s,
            &[DEFAULTS],
            &[
                "eviction-hard=imagefs.available<1Gi",
                "v=2",
                "eviction-hard=nodefs.available<500Mi,imagefs.available<2Gi",
            ],
            [Some(500), None, Some(2048), None],
        ),
        (
            "added to what K3s before 1.32 gave",
            k3s,
            &[],
            &["eviction-hard+=nodefs.inodesFree<1000"],
            [Some(5120), Some(1000), Some(5120), None],
        ),
        (
            "and since then to nothing",
            k3s,
            &[DEFAULTS],
            &["eviction-hard+=nodefs.inodesFree<1000"],
            [None, Some(1000), None, None],
        ),
        ("switched off", k3s, &[DEFAULTS], &["eviction-hard=nodefs.available<0%"], [None, None, None, None]),
        (
            "a drop-in changes one signal",
            k3s,
            &[DEFAULTS, ("90-own.conf", "evictionHard:\n  nodefs.available: 1Gi\n  imagefs.inodesFree: \"7\"\n")],
            &[],
            [Some(1024), None, Some(5120), Some(7)],
        ),
        (
            "a drop-in takes one away",
            k3s,
            &[DEFAULTS, ("90-own.conf", "evictionHard: {nodefs.available: null}")],
            &[],
            [None, None, Some(5120), None],
        ),
        ("a soft one comes first", k3s, &[DEFAULTS, ("soft.conf", SOFT)], &[], [Some(15_360), None, Some(5120), None]),
        (
            "a hard one above it",
            k3s,
            &[DEFAULTS, ("soft.conf", SOFT)],
            &["eviction-soft=imagefs.available<1%", "eviction-hard=imagefs.available<20%"],
            [None, None, Some(20_480), None],
        ),
        (
            "upstream's added",
            k3s,
            &[DEFAULTS, ("merge.conf", "mergeDefaultEvictionSettings: true\n")],
            &[],
            [Some(5120), Some(50_000), Some(5120), Some(50_000)],
        ),
        ("upstream", Defaults::Upstream, &[], &[], [Some(10_240), Some(50_000), Some(15_360), Some(50_000)]),
        (
            "MicroK8s",
            Defaults::Upstream,
            &[("config", "# nothing\n")],
            &["--eviction-hard=\"memory.available<100Mi,nodefs.available<1Gi,imagefs.available<1Gi\""],
            [Some(1024), None, Some(1024), None],
        ),
    ];
    for (what, defaults, files, given, wanted) in rows {
        assert_eq!(begins(defaults, files, given), wanted, "{what}");
    }
}

/// The kubelet compares strictly: at the threshold nothing happens, one byte below it does.
#[test]
fn in_bytes_as_the_kubelet_has_them() {
    let eviction = read(Defaults::K3s, &[DEFAULTS], &[]).unwrap();
    let hard = eviction.nodefs.hard.of(47_000_000_000, 0);
    assert_eq!(hard, Free { bytes: Some(2_350_000_035), inodes: None });
    assert_eq!(eviction.nodefs.soft, Threshold::default());
    // A filesystem that makes its inodes as it needs them runs out of none.
    let inodes = read(Defaults::Upstream, &[], &[]).unwrap().nodefs.begins(1000, 0).inodes;
    assert_eq!(inodes, None);
}

#[test]
fn what_can_not_be_read_is_told() {
    let problem =
        |files: &[Text], given: &[&str]| read(Defaults::K3s, files, &arguments(given)).unwrap_err().to_string();
    for (files, given, wanted) in [
        (&[("a.conf", "- 1\n")][..], &[][..], "a.conf: it is no map"),
        (&[("a.conf", "evictionHard: 5\n")], &[], "evictionHard is no map of signals: 5"),
        (
            &[("a.conf", "evictionHard: {nodefs.available: 5}\n")],
            &[],
            "nodefs.available is no text: 5 (a quantity stands in quotes)",
        ),
        (
            &[],
            &["eviction-hard=nodefs.available=5%"],
            "eviction-hard: \"nodefs.available=5%\" is not of the form signal<amount",
        ),
        (&[], &["eviction-soft=disk.free<5%"], "the kubelet has no eviction signal disk.free"),
        (
            &[],
            &["eviction-hard=imagefs.available<much"],
            "imagefs.available: \"much\" is neither a percentage nor a quantity above zero, such as 10% or 1Gi",
        ),
    ] {
        assert_eq!(problem(files, given), wanted);
    }
    assert!(problem(&[("b.conf", "a: [")], &[]).starts_with("b.conf: it is no YAML: "));
}

#[test]
fn what_k3s_hands_on() {
    let given = |files: &[Text]| k3s::options(files, "").unwrap();
    let nothing = given(&[]);
    assert_eq!((nothing.nodefs.as_str(), nothing.arguments.len()), ("/var/lib/kubelet", 0));
    assert_eq!(nothing.imagefs, "/var/lib/rancher/k3s/agent/containerd");
    assert_eq!(nothing.managed, "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d");

    let one = ("config.yaml", "kubelet-arg:\n- eviction-hard=nodefs.available<1Gi\n- max-pods=200\nnode-name: n1\n");
    assert_eq!(given(&[one]).arguments, ["eviction-hard=nodefs.available<1Gi", "max-pods=200"]);
    let replaced = given(&[one, ("50-bowline.yaml", "kubelet-arg: root-dir=/data/kubelet\ndata-dir: /data/k3s/\n")]);
    assert_eq!(replaced.arguments, ["root-dir=/data/kubelet"]);
    assert_eq!((replaced.nodefs.as_str(), replaced.imagefs.as_str()), ("/data/kubelet", "/data/k3s/agent/containerd"));
    let added = given(&[one, ("60.yaml", "kubelet-arg+: [eviction-hard=imagefs.available<3Gi]\n"), ("70.yaml", "")]);
    assert_eq!(added.arguments.len(), 3);
    let eviction = read(Defaults::K3s, &[DEFAULTS], &added.arguments).unwrap();
    assert_eq!(eviction.imagefs.begins(GI, 0).bytes, Some(3 * GI));
    assert_eq!(eviction.nodefs.begins(GI, 0).bytes, Some(GI));
}

#[test]
fn what_k3s_hands_on_and_can_not_be_followed() {
    let problem = |text: &str| k3s::options(&[("config.yaml", text)], "").unwrap_err().to_string();
    assert_eq!(problem("kubelet-arg: [5]\n"), "config.yaml: kubelet-arg is no list of texts: [5]");
    assert_eq!(problem("data-dir: 5\n"), "config.yaml: data-dir is no text: 5");
    assert!(problem("a: 1\na: 2\n").starts_with("config.yaml: it is no YAML"));
}

#[test]
fn files_of_ones_own_are_followed() {
    let given = |text: &str| k3s::options(&[("config.yaml", text)], "").unwrap();
    let own = given("kubelet-arg: [config=/etc/kubelet.yaml, config-dir=/etc/kubelet.d]\n");
    assert_eq!(own.config.as_deref().zip(own.config_dir.as_deref()), Some(("/etc/kubelet.yaml", "/etc/kubelet.d")));
    assert_eq!(own.managed, given("").managed, "K3s's own are read all the same");
    assert_eq!(given("kubelet-arg: [\"config=\"]\n").config, None);
}

#[test]
fn options_as_units_of_others_have_them() {
    let kubeadm = "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///run/x.sock --root-dir=/srv/kubelet\"\n";
    let kubespray = "# --not-this=1\nKUBELET_ARGS=\"--config=/etc/kubernetes/kubelet-config.yaml \\\n--eviction-hard=nodefs.available<1Gi \\\n\"\n";
    assert_eq!(options_in(kubeadm), ["--container-runtime-endpoint=unix:///run/x.sock", "--root-dir=/srv/kubelet"]);
    let all = options_in(kubespray);
    assert_eq!(all, ["--config=/etc/kubernetes/kubelet-config.yaml", "--eviction-hard=nodefs.available<1Gi"]);
    assert_eq!(option(&all, "config").as_deref(), Some("/etc/kubernetes/kubelet-config.yaml"));
    assert_eq!(options_in("KUBELET_EXTRA_ARGS=--node-ip=10.0.1.7\n"), ["--node-ip=10.0.1.7"]);
}

/// An adopted K3s has what its installer was told on the command line of its unit.
#[test]
fn k3s_on_its_command_line() {
    const FILE: Text = ("config.yaml", "kubelet-arg: [eviction-hard=nodefs.available<7%]\n");
    const INSTALLED: &str = "[Service]\nExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/local/bin/k3s \\\n    server \\\n\
        \t'--kubelet-arg=eviction-hard=nodefs.available<9%' \\\n\t'--data-dir' \\\n\t'/srv/k3s/' \\\n\n[Install]\nd=x\n";
    let of = |unit: &str| k3s::options(&[FILE], unit).unwrap();
    let hard = |arguments: &[String]| arguments.first().cloned().unwrap_or_default();
    assert_eq!(hard(&of("").arguments), "eviction-hard=nodefs.available<7%");
    let installed = of(INSTALLED);
    assert_eq!(installed.arguments, ["eviction-hard=nodefs.available<9%"]);
    assert_eq!((installed.agent.as_str(), installed.imagefs.as_str()), ("/srv/k3s/agent", "/srv/k3s/agent/containerd"));
    let short = of("ExecStart=/usr/local/bin/k3s agent -d /srv/k3s --kubelet-arg root-dir=/srv/kubelet\n");
    assert_eq!((short.nodefs.as_str(), short.agent.as_str()), ("/srv/kubelet", "/srv/k3s/agent"));
}
