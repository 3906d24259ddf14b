//! Rules as tools list them. What is in `recorded` was listed by iptables 1.8.9 and nftables 1.0.6: the rules of Oracle's
//! Ubuntu images, alone and with those that K3s adds to them (kube-proxy's, and those of its network policies, with one
//! pod), ufw 0.36.2 and firewalld 1.3.3 as they are after they were switched on, and some that show what nftables can do.

use super::*;
use crate::cli::doctor::check::Verdict;

const ORACLE: &str = include_str!("recorded/oracle.txt");
const WITH_K3S: &str = include_str!("recorded/oracle-k3s.txt");
const WITH_K3S_BY_NFT: &str = include_str!("recorded/oracle-k3s-nft.json");
const UFW: &str = include_str!("recorded/ufw.txt");
const UFW_ALLOWED: &str = include_str!("recorded/ufw-allowed.txt");
const FIREWALLD: &str = include_str!("recorded/firewalld.json");
const FIREWALLD_TRUSTED: &str = include_str!("recorded/firewalld-trusted.json");
const NFT: &str = include_str!("recorded/nft.json");
const IPV6: &str = include_str!("recorded/ip6tables.txt");

const REJECTS: &str = "-A INPUT -j REJECT --reject-with icmp-host-prohibited";

fn iptables(text: &str) -> Listing {
    Listing { tool: "iptables-save", dialect: Dialect::Iptables, text: Ok(text.into()) }
}

fn nft(text: &str) -> Listing {
    Listing { tool: "nft", dialect: Dialect::Nft, text: Ok(text.into()) }
}

/// A server with etcd at 10.0.1.10 that lets nodes of 10.0.1.0/24 in.
fn facts(listings: Vec<Listing>) -> Facts {
    let settings = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\ndatastore = \"etcd\"\n\
                    key-file = \"/etc/bowline/cluster.key\"\n[node]\naddress = \"10.0.1.0/24\"\n";
    of(settings, "10.0.1.10", listings)
}

fn of(settings: &str, address: &str, listings: Vec<Listing>) -> Facts {
    let file = bowline_settings::SourceFile { path: "/x/50.toml".into(), text: settings.into(), mode: 0o600, uid: 0 };
    let settings = bowline_settings::load(&[file]).unwrap().settings;
    let cluster = settings.cluster.as_ref().unwrap();
    let address = address.parse().unwrap();
    let needed = needed(&settings, cluster, &backend(cluster, None), address);
    Facts {
        listings: Ok(listings),
        address,
        interface: "ens3".into(),
        nodes: settings.node.address.filter(|network| !network.is_single()),
        needed,
    }
}

/// What was found, the remedy and its command.
fn finding(facts: &Facts) -> (String, String, String) {
    match diagnose(facts).verdict {
        Verdict::Finding { found, remedy, command, .. } => (found, remedy, command.unwrap_or_default()),
        other => panic!("no finding: {other:?}"),
    }
}

#[test]
fn oracles_ubuntu_refuses_all_but_ssh() {
    for listing in [ORACLE, WITH_K3S] {
        let (found, remedy, command) = finding(&facts(vec![iptables(listing)]));
        let ports = "TCP 2379-2380, 6443, 7470, 10250 and UDP 8472";
        let wanted = format!("it refuses what other nodes need of this one from 10.0.1.0/24: {ports} ({REJECTS})");
        assert_eq!(found, wanted);
        assert!(remedy.contains("/etc/iptables/rules.v4"), "{remedy}");
        assert_eq!(
            command,
            "iptables -I INPUT -s 10.0.1.0/24 -p tcp -m multiport --dports 2379:2380,6443,7470,10250 -j ACCEPT && \
             iptables -I INPUT -s 10.0.1.0/24 -p udp -m multiport --dports 8472 -j ACCEPT"
        );
    }
}

#[test]
fn what_the_remedy_adds_mends_it() {
    let lines = "-A INPUT -s 10.0.1.0/24 -p tcp -m multiport --dports 2379:2380,6443,7470,10250 -j ACCEPT\n\
                 -A INPUT -s 10.0.1.0/24 -p udp -m udp --dport 8472 -j ACCEPT\n-A INPUT -m state";
    let mended = WITH_K3S.replacen("-A INPUT -m state", lines, 1);
    // By its other tool nothing is concluded of the same rules.
    let check = diagnose(&facts(vec![iptables(&mended), nft(WITH_K3S_BY_NFT)]));
    let text = "no rule refuses TCP 2379-2380, 6443, 7470, 10250 and UDP 8472 from 10.0.1.0/24";
    assert_eq!(check, Check::ok(NAME, text));
    // Of one port that is left out, one finding.
    let (found, ..) = finding(&facts(vec![iptables(&mended.replace("6443,7470,", "6443,"))]));
    assert!(found.contains(": TCP 7470 ("), "{found}");
}

#[test]
fn an_agent_needs_less() {
    let agent = format!(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\"]\nticket = \"{}\"\n[node]\n\
         address = \"10.0.1.20\"\n",
        "a".repeat(64)
    );
    let (found, remedy, command) = finding(&of(&agent, "10.0.1.20", vec![iptables(ORACLE)]));
    assert_eq!(found, format!("it refuses what other nodes need of this one: TCP 10250 and UDP 8472 ({REJECTS})"));
    // Nobody is told to open ports to the whole world.
    assert_eq!(command, "");
    assert!(remedy.contains("iptables -I INPUT -s NETWORK -p tcp -m multiport --dports 10250 -j ACCEPT"), "{remedy}");
    let ours = "-A INPUT -s 10.0.1.0/24 -j ACCEPT\n-A INPUT -m state";
    let check = diagnose(&of(&agent, "10.0.1.20", vec![iptables(&ORACLE.replacen("-A INPUT -m state", ours, 1))]));
    assert!(matches!(check.verdict, Verdict::Ok { .. }), "whoever they are, some may come in: {check:?}");
}

#[test]
fn other_firewalls_have_their_own_remedies() {
    let (found, remedy, command) = finding(&facts(vec![iptables(UFW)]));
    assert!(found.ends_with("and UDP 8472 (the policy of chain INPUT in table filter)"), "{found}");
    assert!(remedy.contains("over reboots"), "{remedy}");
    assert_eq!(
        command,
        "ufw allow proto tcp from 10.0.1.0/24 to any port 2379:2380,6443,7470,10250 && \
         ufw allow proto udp from 10.0.1.0/24 to any port 8472"
    );
    let (found, ..) = finding(&facts(vec![iptables(UFW_ALLOWED)]));
    assert!(found.contains(": TCP 7470, 10250 ("), "{found}");

    let (found, _, command) = finding(&facts(vec![nft(FIREWALLD)]));
    assert!(found.contains("TCP 2379-2380, 6443, 7470, 10250 and UDP 8472 (rule "), "{found}");
    assert_eq!(command, "firewall-cmd --permanent --zone=trusted --add-source=10.0.1.0/24 && firewall-cmd --reload");
    assert!(matches!(diagnose(&facts(vec![nft(FIREWALLD_TRUSTED)])).verdict, Verdict::Ok { .. }));
}

#[test]
fn tables_of_nftables_own() {
    // 10250 and 6443 hang on what is not known; Bowline's own table counts for nothing.
    let (found, remedy, command) = finding(&facts(vec![nft(NFT)]));
    assert_eq!(
        found,
        "it refuses what other nodes need of this one from 10.0.1.0/24: \
         TCP 2379-2380 (rule 17 of `nft -a list chain inet filter input`); \
         TCP 7470 (the policy of chain input in table inet filter)"
    );
    assert_eq!(
        remedy,
        "let the nodes' network in; the next boot forgets it: write the same rules into /etc/nftables.conf too"
    );
    assert_eq!(
        command,
        "nft insert rule inet filter input ip saddr 10.0.1.0/24 tcp dport '{ 2379-2380 }' accept && \
         nft insert rule inet filter input ip saddr 10.0.1.0/24 tcp dport '{ 7470 }' accept"
    );
}

#[test]
fn bowlines_own_table_is_never_reported() {
    let listed: Value = serde_json::from_str(NFT).unwrap();
    let own = listed["nftables"].as_array().unwrap().iter().filter(|one| one.to_string().contains("\"bowline\""));
    let own = serde_json::json!({ "nftables": own.collect::<Vec<_>>() }).to_string();
    assert!(matches!(diagnose(&facts(vec![nft(&own)])).verdict, Verdict::Ok { .. }));
    // Anybody else's would be: but for its flags, which are not looked into.
    let theirs = own.replace("\"bowline\"", "\"theirs\"");
    assert!(matches!(diagnose(&facts(vec![nft(&theirs)])).verdict, Verdict::Ok { .. }));
    let mut theirs: Value = serde_json::from_str(&theirs).unwrap();
    for object in theirs["nftables"].as_array_mut().unwrap() {
        if let Some(tests) = object["rule"]["expr"].as_array_mut() {
            tests.retain(|test| test["match"]["right"] != "syn");
        }
    }
    let (found, ..) = finding(&facts(vec![nft(&theirs.to_string())]));
    assert!(found.contains(": TCP 7470 (rule 3 of `nft -a list chain inet theirs input`)"), "{found}");
}

#[test]
fn ipv6_has_rules_of_its_own() {
    let settings = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                    key-file = \"/etc/bowline/cluster.key\"\n[node]\naddress = \"fd00:1::/64\"\n";
    let listing = Listing { tool: "ip6tables-save", ..iptables(IPV6) };
    let (found, _, command) = finding(&of(settings, "fd00:1::10", vec![listing]));
    assert!(found.contains("TCP 7470 and UDP 8472 (-A INPUT -j REJECT"), "{found}");
    assert!(command.starts_with("ip6tables -I INPUT -s fd00:1::/64 -p tcp -m multiport --dports 7470 "), "{command}");
    // ufw lists the same chains there, by names of their own; what is IPv4's alone is left out.
    let ufw: Vec<_> = UFW.lines().filter(|line| !line.contains(" icmp ") && !line.contains(" -d 2")).collect();
    let ufw = ufw.join("\n").replace("ufw-", "ufw6-").replace("icmp-port-unreachable", "icmp6-port-unreachable");
    let listing = Listing { tool: "ip6tables-save", ..iptables(&ufw) };
    let (_, remedy, command) = finding(&of(settings, "fd00:1::10", vec![listing]));
    assert!(remedy.contains("it keeps that over reboots"), "{remedy}");
    assert_eq!(
        command,
        "ufw allow proto tcp from fd00:1::/64 to any port 6443,7470,10250 && \
         ufw allow proto udp from fd00:1::/64 to any port 8472"
    );
    // By nftables a node of this address gets through.
    let check = of(settings, "fd00:1::10", vec![nft(NFT)]);
    let (found, ..) = finding(&check);
    assert!(found.contains("UDP 8472 (the policy") && !found.contains("10250"), "{found}");
}

#[test]
fn other_tables_and_marks_count() {
    let raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i ens+ -p udp -m udp --dport 8472 -j DROP\nCOMMIT\n";
    let (found, _, command) = finding(&facts(vec![iptables(raw)]));
    assert!(found.contains(": UDP 8472 (-A PREROUTING"), "{found}");
    assert!(command.starts_with("iptables -t raw -I PREROUTING -s "), "{command}");
    assert!(!diagnose(&facts(vec![iptables(&raw.replace("ens+", "eth+"))])).is_finding());

    let marked = |mark: &str| {
        let text = format!(
            "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.0.0.0/8 -j MARK --set-xmark 0x4/0xff\nCOMMIT\n\
             *filter\n:INPUT DROP [0:0]\n-A INPUT -m mark --mark {mark} -j ACCEPT\nCOMMIT\n"
        );
        diagnose(&facts(vec![iptables(&text)])).is_finding()
    };
    assert!(!marked("0x4/0xff") && marked("0x8/0xff"));
}

#[test]
fn what_is_not_known_accuses_nobody() {
    for rule in [
        "-A INPUT -m set --match-set allowed src -j ACCEPT",
        "-A INPUT -j NFQUEUE --queue-num 0",
        "-A INPUT -s 10.0.1.128/25 -j ACCEPT",
        "-A INPUT -m hashlimit --hashlimit-upto 9/sec --hashlimit-name x -j ACCEPT",
        "-A INPUT -m comment --comment \"-j DROP\" -j SOMETHING",
    ] {
        let text = format!("*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n");
        assert!(!diagnose(&facts(vec![iptables(&text)])).is_finding(), "{rule}");
    }
    for rule in ["-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", "-A INPUT -j LOG"] {
        let text = format!("*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n");
        assert!(diagnose(&facts(vec![iptables(&text)])).is_finding(), "{rule}");
    }
    for (text, wanted) in
        [("no JSON", "expected ident at line 1 column 2"), ("{}", "there is no list \"nftables\" in it")]
    {
        let Verdict::Skipped { text: why } = diagnose(&facts(vec![nft(text)])).verdict else { panic!("{text}") };
        assert_eq!(why, format!("what nft says cannot be read: {wanted}"));
    }
    assert!(matches!(diagnose(&facts(vec![])).verdict, Verdict::Skipped { .. }));
    // What one tool lists says nothing of what another could not.
    let (open, failed) =
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", Listing { text: Err("nft: killed".into()), ..nft("") });
    let Verdict::Skipped { text: why } = diagnose(&facts(vec![iptables(open), failed])).verdict else {
        panic!("it is not known")
    };
    assert_eq!(why, "what nft says cannot be read: nft: killed");
    let without = "*filter\n:INPUT ACCEPT [0:0]\n:LOOP - [0:0]\n-A INPUT -j LOOP\n-A LOOP -j LOOP\nCOMMIT\n";
    assert!(!diagnose(&facts(vec![iptables(without)])).is_finding());
}

#[test]
fn the_network_between_pods_decides_on_its_port() {
    let settings = |backend: &str| {
        format!(
            "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
             key-file = \"/etc/bowline/cluster.key\"\n[cluster.config]\nflannel-backend = \"{backend}\"\n"
        )
    };
    let named = |backend: &str| {
        let facts = of(&settings(backend), "10.0.1.10", vec![]);
        super::named(&facts.needed.iter().collect::<Vec<_>>())
    };
    assert_eq!(named("vxlan"), "TCP 6443, 7470, 10250 and UDP 8472");
    assert_eq!(named("wireguard-native"), "TCP 6443, 7470, 10250 and UDP 51820");
    assert_eq!(named("host-gw"), "TCP 6443, 7470, 10250");
    // What the servers told counts more than K3s's own default.
    let file = bowline_settings::SourceFile { path: "/x/50.toml".into(), text: settings("vxlan"), mode: 0o600, uid: 0 };
    let cluster = bowline_settings::load(&[file]).unwrap().settings.cluster.unwrap();
    assert_eq!(backend(&cluster, Some("{\"flannel-backend\":\"host-gw\"}")), "host-gw");
    assert_eq!(backend(&cluster, Some("{}")), "vxlan");
}
