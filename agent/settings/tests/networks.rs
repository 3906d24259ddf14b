//! Ports and networks of a cluster: what can be together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use crate::common::one;

const SERVER: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                      key-file = \"/etc/bowline/cluster.key\"\n";

fn refused(text: &str) -> Vec<String> {
    one(text).err().map_or_else(Vec::new, |errors| errors.into_iter().map(|error| error.key).collect())
}

/// The key of each warning, and what it says.
fn warned(text: &str) -> Vec<(String, String)> {
    one(text).unwrap().warnings.into_iter().map(|warning| (warning.key, warning.message)).collect()
}

#[test]
fn networks_that_are_apart_are_taken_as_k3s_takes_them() {
    for options in [
        "cluster-cidr = \"10.52.0.0/16\"",
        "cluster-cidr = \"fd00:52::/56\"\nservice-cidr = [\"fd00:53::/112\"]",
        // By itself a cluster of IPv6 has fd00:43::/112, one of IPv4 10.43.0.0/16.
        "cluster-cidr = [\"fd00:52::/56\"]\nhttps-listen-port = \"6444\"",
        "https-listen-port = 443",
    ] {
        assert_eq!(refused(&format!("{SERVER}[cluster.config]\n{options}\n")), [""; 0], "{options}");
    }
    for (options, key) in [
        ("cluster-cidr = \"10.0.0.0/8\"\nservice-cidr = \"10.7.0.0/16\"", "cluster.config.service-cidr"),
        ("cluster-cidr = \"10.42.0.9/16\"\nservice-cidr = \"10.42.128.0/17\"", "cluster.config.service-cidr"),
        // K3s does not start with these on a node with one address.
        ("cluster-cidr = \"10.52.0.0/16, fd00:52::/56\"", "cluster.config.cluster-cidr"),
        ("service-cidr = [\"10.53.0.0/16\", \"fd00:53::/112\"]", "cluster.config.service-cidr"),
        ("cluster-cidr = \"10.52.0.0/33\"", "cluster.config.cluster-cidr"),
        ("cluster-cidr = \"\"", "cluster.config.cluster-cidr"),
        ("https-listen-port = 0", "cluster.config.https-listen-port"),
        ("\"https-listen-port+\" = 6444", "cluster.config.\"https-listen-port+\""),
    ] {
        assert_eq!(refused(&format!("{SERVER}[cluster.config]\n{options}\n")), [key], "{options}");
    }
}

/// K3s's own files, an earlier installation or a CNI may have others.
#[test]
fn with_networks_that_nobody_wrote_it_is_a_warning() {
    for (rest, key) in [
        ("[cluster.config]\ncluster-cidr = \"10.43.0.0/16\"\n", "cluster.config.cluster-cidr"),
        ("[cluster.config]\ncluster-cidr = \"10.0.0.0/8\"\n", "cluster.config.cluster-cidr"),
        ("[cluster.config]\nservice-cidr = \"10.42.128.0/17\"\n", "cluster.config.service-cidr"),
        ("[cluster.config]\ncluster-cidr = \"fd00:43::/64\"\n", "cluster.config.cluster-cidr"),
        ("[node]\naddress = \"10.42.0.7\"\n", "node.address"),
        ("[node]\naddress = \"10.43.7.0/24\"\n", "node.address"),
        ("[node]\naddress = \"fd00:42::/64\"\n", "node.address"),
        ("[enroll]\nlisten = [\"10.42.0.7:7470\"]\n", "enroll.listen"),
    ] {
        let all = warned(&format!("{SERVER}{rest}"));
        assert_eq!(all.iter().map(|(key, _)| key).collect::<Vec<_>>(), [key], "{rest}");
    }
    let all = warned(&format!("{SERVER}[node]\naddress = \"10.42.0.7\"\n"));
    assert_eq!(
        all[0].1,
        "the node's own address cannot be in the network of the pods, 10.42.0.0/16 (K3s's own, where nothing else says \
         another)"
    );
}

#[test]
fn what_is_behind_the_prefix_is_cut_off_as_k3s_does() {
    let all = warned(&format!("{SERVER}[cluster.config]\nservice-cidr = \"10.53.0.1/16\"\n"));
    let said = "\"10.53.0.1/16\" is an address inside 10.53.0.0/16, which K3s makes of it";
    assert_eq!(all, [("cluster.config.service-cidr".to_owned(), said.to_owned())]);
}

#[test]
fn a_network_of_pods_has_room_for_a_node() {
    let with = |options: &str| warned(&format!("{SERVER}[cluster.config]\n{options}\n"));
    for (network, said) in [
        ("10.52.0.0/25", "the network of the pods, 10.52.0.0/25, has no room for one node's, a /24"),
        ("fd00:52::/80", "the network of the pods, fd00:52::/80, has no room for one node's, a /64"),
    ] {
        let option = format!("cluster-cidr = \"{network}\"");
        assert_eq!(with(&option), [("cluster.config.cluster-cidr".to_owned(), said.to_owned())]);
        let told = format!("{option}\nkube-controller-manager-arg = [\"node-cidr-mask-size=26\"]");
        assert_eq!(with(&told), []);
        assert_eq!(with(&told.replace("kube-controller-manager-arg", "\"kube-controller-manager-arg+\"")), []);
    }
    assert_eq!(with("cluster-cidr = \"10.52.0.0/24\"\nservice-cidr = \"10.53.0.0/28\""), []);
    assert_eq!(with("cluster-cidr = \"fd00:52::/64\"\nservice-cidr = \"fd00:53::/124\""), []);
}

#[test]
fn machines_are_not_in_the_networks_of_pods_and_services() {
    let written = "[cluster.config]\ncluster-cidr = \"10.52.0.0/16\"\nservice-cidr = \"10.53.0.0/16\"\n";
    for (rest, key) in [
        (format!("{written}[node]\naddress = \"10.52.0.7\"\n"), "node.address"),
        (format!("{written}[node]\naddress = \"10.53.7.0/24\"\n"), "node.address"),
        (format!("{written}[enroll]\nlisten = [\"10.52.0.7:7470\"]\n"), "enroll.listen"),
        (format!("servers = [\"10.52.0.7\"]\n{written}"), "cluster.servers"),
    ] {
        assert_eq!(refused(&format!("{SERVER}{rest}")), [key], "{rest}");
    }
    // The address is one in that network; which networks a cluster has that is joined, its servers say.
    for rest in ["[node]\naddress = \"10.0.0.0/8\"\n", "servers = [\"10.0.1.9\"]\n[node]\naddress = \"10.42.0.0/24\"\n"]
    {
        assert_eq!(warned(&format!("{SERVER}{rest}")), [], "{rest}");
    }
}

/// Where the machine has one address, `{address}` is that; of a network it may be any.
#[test]
fn scrapes_and_issuers_do_not_listen_at_one_place() {
    let of = |node: &str, issuer: &str, scrapes: &str| {
        let allow = "allow = [\"10.0.0.0/8\"]\n";
        refused(&format!(
            "{SERVER}{node}[enroll]\nlisten = [\"{issuer}\"]\n[metrics]\nlisten = [\"{scrapes}\"]\n{allow}"
        ))
    };
    let (address, literal) = ("{address}:7470", "10.0.1.10:7470");
    for node in ["", "[node]\naddress = \"10.0.1.10\"\n", "[node]\naddress = \"10.0.1.0/24\"\n"] {
        assert_eq!(of(node, address, literal), ["metrics.listen"], "{node}");
        assert_eq!(of(node, literal, address), ["metrics.listen"], "{node}");
    }
    assert_eq!(of("[node]\naddress = \"10.0.2.10\"\n", address, literal), [""; 0]);
    assert_eq!(of("", address, "127.0.0.1:7470"), [""; 0]);
    assert_eq!(of("", address, "10.0.1.10:7471"), [""; 0]);
}

#[test]
fn ports_of_issuers_are_no_others() {
    for rest in ["servers = [\"10.0.1.9:1024\"]\n", "[enroll]\nlisten = [\"{address}:9787\", \"[fd00::1]:7471\"]\n"] {
        assert_eq!(refused(&format!("{SERVER}{rest}")), [""; 0], "{rest}");
    }
    for port in [22, 53, 80, 443, 1023, 2379, 2380, 6443, 10250, 10256] {
        let (server, listen) =
            (format!("servers = [\"10.0.1.9:{port}\"]\n"), format!("[enroll]\nlisten = [\"{{address}}:{port}\"]\n"));
        assert_eq!(refused(&format!("{SERVER}{server}")), ["cluster.servers"], "{port}");
        assert_eq!(refused(&format!("{SERVER}{listen}")), ["enroll.listen"], "{port}");
    }
    let metrics = |listen: &str, rest: &str| {
        refused(&format!("{SERVER}{rest}[metrics]\nlisten = [\"{listen}\"]\nallow = [\"pods\"]\n"))
    };
    assert_eq!(metrics("{address}:7470", ""), ["metrics.listen"]);
    assert_eq!(metrics("{address}:9000", "servers = [\"10.0.1.9:9000\"]\n"), ["metrics.listen"]);
    assert_eq!(metrics("127.0.0.1:7470", "[enroll]\nlisten = [\"0.0.0.0:7470\"]\n"), ["metrics.listen"]);
    // Nobody is kept from a loopback address, and nothing else listens there.
    assert_eq!(metrics("127.0.0.1:7470", ""), [""; 0]);
    // Only pods are kept away.
    let machines = |listen: &str| {
        let rest = "servers = [\"10.0.1.9:9000\"]\n";
        refused(&format!("{SERVER}{rest}[metrics]\nlisten = [\"{listen}\"]\nallow = [\"10.0.1.0/24\"]\n"))
    };
    assert_eq!(machines("{address}:9000"), [""; 0]);
    assert_eq!(machines("0.0.0.0:7470"), ["metrics.listen"]);
}

/// `servers` never takes K3s's usual port, so that nobody could come in there.
#[test]
fn the_api_is_where_the_settings_have_it() {
    let with = |port: u16| {
        let text = format!(
            "{SERVER}[cluster.config]\nhttps-listen-port = 9500\n[enroll]\nlisten = [\"{{address}}:{port}\"]\n"
        );
        one(&text).unwrap_err().iter().map(|error| error.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(with(9500), ["{address}:9500 is in the way of Kubernetes: K3s's API server listens there"]);
    assert!(with(6443)[0].starts_with("nobody could ask at {address}:6443: "));
}
