//! The rules of the settings, each with what it accepts and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may end so")]

use std::path::{Path, PathBuf};

use crate::common::{file, one};
use bowline_settings::{
    Allow, Arch, ConfigScalar, ConfigValue, Datastore, Distribution, Enroll, ExternalAddress, Filesystem, Format,
    INIT_WAIT, Join, LogLevel, Mirror, Role, Secret, Settings, Span, Version, VolumeSource, load,
};

const CLUSTER: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n";

fn settings(text: &str) -> Settings {
    match one(text) {
        Ok(loaded) => loaded.settings,
        Err(errors) => panic!("{errors}"),
    }
}

/// The keys and messages of what is wrong.
fn wrong(text: &str) -> Vec<(String, String)> {
    match one(text) {
        Ok(loaded) => panic!("accepted: {:?}", loaded.settings),
        Err(errors) => errors.into_iter().map(|error| (error.key, error.message)).collect(),
    }
}

fn text(value: &str) -> ConfigScalar {
    ConfigScalar::Text(value.to_owned())
}

#[test]
fn nothing_is_a_wait_and_no_error() {
    for files in [vec![], vec![file("10.toml", "\n")], vec![file("10.toml", "# later\n"), file("20.toml", "[node]\n")]]
    {
        let loaded = load(&files).unwrap();
        assert!(loaded.settings.is_empty());
        assert!(loaded.origins.is_empty());
        assert_eq!(loaded.settings, Settings::default());
    }
    assert!(!settings(CLUSTER).is_empty());
    let listen = &Settings::default().metrics.listen;
    assert_eq!(listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:9787"]);
}

/// What was in it is not known: it is not as if somebody had taken it out of the settings.
#[test]
fn a_file_without_a_byte_was_cut_off() {
    let volume = "[[volume]]\nname = \"a\"\nserial = \"1\"\nmount = \"/a\"\n";
    assert_eq!(load(&[file("10.toml", CLUSTER), file("20.toml", volume)]).unwrap().settings.volumes.len(), 1);
    let errors = load(&[file("10.toml", CLUSTER), file("20.toml", "")]).unwrap_err();
    let said: Vec<_> = errors.iter().map(|error| error.place.to_string()).collect();
    assert_eq!(said, ["/etc/bowline/config.d/20.toml:1:1"]);
    // What the others lack may have been in it.
    let errors = load(&[file("10.toml", ""), file("20.toml", "[cluster]\nrole = \"server\"\n")]).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors}");
}

#[test]
fn everything_at_once() {
    let sum = "AB".repeat(32);
    let all = settings(&format!(
        "{CLUSTER}sha256 = {{ amd64 = \"{sum}\" }}\nmirror = \"https://mirror.example/k3s/\"\n\
         ca-file = \"/etc/ssl/mirror.pem\"\n[cluster.config]\ndisable = [\"servicelb\"]\ndebug = true\nv = 3\n\
         token = \"abc\"\n[node]\nname = \"k2w-7.example\"\naddress = \"10.0.1.7\"\n\
         external-address = \"203.0.113.9\"\nlabels = {{ a = \"\", \"node-role.kubernetes.io/kafka\" = \"true\" }}\n\
         [[volume]]\nname = \"data-1\"\nserial = \"A 1\"\nmount = \"/var/lib/rancher\"\nfilesystem = \"xfs\"\n\
         options = [\"noatime\", \"logbufs=8\"]\nformat = \"blank-only\"\ngate = false\n\
         [metrics]\nlisten = [\"[::1]:1\", \"{{address}}:2\"]\nallow = [\"fd00::/8\", \"pods\"]\n\
         [log]\nlevel = \"trace\"\n"
    ));
    let cluster = all.cluster.as_ref().unwrap();
    assert_eq!(cluster.distribution, Distribution::K3s);
    assert_eq!(cluster.role, Role::Server);
    assert_eq!(cluster.version.exact().unwrap().to_string(), "v1.34.1+k3s1");
    assert_eq!(cluster.sha256[&Arch::Amd64].as_str(), sum.to_lowercase());
    assert_eq!(cluster.mirror, Some(Mirror::Https("https://mirror.example/k3s".into())));
    assert_eq!(cluster.ca_file.as_deref(), Some(Path::new("/etc/ssl/mirror.pem")));
    assert_eq!(cluster.config["disable"], ConfigValue::Many(vec![text("servicelb")]));
    assert_eq!(cluster.config["debug"], ConfigValue::One(ConfigScalar::Bool(true)));
    assert_eq!(cluster.config["v"], ConfigValue::One(ConfigScalar::Integer(3)));
    assert_eq!(cluster.config["token"], ConfigValue::One(ConfigScalar::Secret(Secret::new("abc"))));
    assert_eq!(all.node.name.as_deref(), Some("k2w-7.example"));
    assert!(all.node.address.unwrap().is_single());
    assert_eq!(all.node.external_address, Some(ExternalAddress::Ip("203.0.113.9".parse().unwrap())));
    assert_eq!(all.node.labels["node-role.kubernetes.io/kafka"], "true");
    let volume = all.volume("data-1").unwrap();
    assert_eq!(volume.source, VolumeSource::Serial("A 1".into()));
    assert_eq!(volume.filesystem, Filesystem::Xfs);
    assert_eq!(volume.format, Format::BlankOnly);
    assert!(!volume.gate);
    assert_eq!(all.metrics.allow[1], Allow::Pods);
    assert_eq!(all.log.level, LogLevel::Trace);
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["cluster"]["config"]["token"], "(hidden)");
    assert_eq!(json["volumes"][0]["serial"], "A 1");
    assert_eq!(json["node"]["address"], "10.0.1.7/32");
}

#[test]
fn versions() {
    for good in ["v1.34.1+k3s1", "v1.9.0+k3s12"] {
        let cluster = settings(&CLUSTER.replace("v1.34.1+k3s1", good)).cluster.unwrap();
        assert_eq!(cluster.version.to_string(), good);
    }
    for bad in ["", "1.34.1", "v1.34+k3s1", "v1.34.1", "v1.34.1-rc1+k3s1", "v1.34.1+k3s", "v1.34.1+k3s01", "latest"] {
        assert_eq!(wrong(&CLUSTER.replace("v1.34.1+k3s1", bad))[0].0, "cluster.version", "{bad}");
    }
}

#[test]
fn agents() {
    let agent = settings(
        "[cluster]\ndistribution = \"k3s\"\nrole = \"agent\"\nservers = [\"10.0.1.10\", \"fd00::1\"]\n\
         ticket-file = \"/run/credentials/bowline.service/ticket\"\n[node]\ntaints = [\"a=b:NoExecute\", \"a:NoSchedule\"]\n",
    );
    let cluster = agent.cluster.unwrap();
    assert_eq!((cluster.role, cluster.version), (Role::Agent, Version::OfServers));
    assert_eq!(cluster.join.servers[1].to_string(), "[fd00::1]:7470");
    assert!(cluster.join.startup_taint, "on by default");
    assert_eq!(agent.enroll, None);
    assert_eq!(
        agent.node.taints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["a=b:NoExecute", "a:NoSchedule"]
    );
}

#[test]
fn servers() {
    let single = settings(CLUSTER);
    assert_eq!(single.cluster.unwrap().join, Join::default(), "as it was before there were others");
    assert_eq!(single.enroll, None);
    let first = settings(&format!("{CLUSTER}key-file = \"/etc/k\"\n[cluster.config]\ntoken = \"abc\"\n"));
    assert_eq!(first.enroll, Some(Enroll::default()), "it lets others in by itself, and has no rule for any");
    assert_eq!(first.enroll.unwrap().listen[0].to_string(), "{address}:7470");
    let more = "key-file = \"/etc/k\"\nservers = [\"control-2.example\"]\n";
    let second = settings(&format!("{CLUSTER}{more}")).cluster.unwrap().join;
    assert_eq!((second.datastore, second.init, second.startup_taint), (Datastore::Etcd, None, false));
    let init = settings(&format!("{CLUSTER}{more}init = true\n")).cluster.unwrap().join;
    assert_eq!(init.init, Some(INIT_WAIT));
    let waits = settings(&format!("{CLUSTER}{more}init = true\ninit-wait = \"5m\"\n")).cluster.unwrap().join;
    assert_eq!(waits.init, Some(Span::from_secs(300)));
}

#[test]
fn rules_merge_by_name() {
    let files = [
        file("10.toml", &format!("{CLUSTER}key-file = \"/etc/k\"\n[enroll]\ngrace = \"2m\"\n")),
        file(
            "20.toml",
            "[[enroll.allow]]\nname = \"kafka\"\nnodes = \"kafka-*\"\nrole = \"agent\"\nfrom = \"10.0.1.0/24\"\n\
             grant = { a = \"1\" }\n[[enroll.allow]]\nname = \"control-2\"\nnodes = \"control-2\"\n\
             role = \"server\"\nfrom = [\"10.0.1.11\", \"fd00::11\"]\n",
        ),
        file("30.toml", "[[enroll.allow]]\nname = \"kafka\"\nfrom = [\"10.0.2.0/24\"]\ngrant = { b = \"2\" }\n"),
    ];
    let loaded = load(&files).unwrap();
    let enroll = loaded.settings.enroll.unwrap();
    assert_eq!(enroll.grace, Span::from_secs(120));
    let names: Vec<_> = enroll.allow.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["kafka", "control-2"]);
    let kafka = &enroll.allow[0];
    assert_eq!(kafka.from, ["10.0.2.0/24".parse().unwrap()]);
    assert_eq!(kafka.grant.len(), 2, "tables in a rule merge, too");
    assert!(kafka.nodes.matches("kafka-0") && !kafka.nodes.matches("kafka"));
    let from = loaded.origins.get("enroll.allow.kafka.from").unwrap();
    assert_eq!(from.replaced.len(), 1);
    assert!(loaded.origins.get("enroll.allow.kafka.grant.b").is_some());
}

#[test]
fn mirrors() {
    let with = |mirror: &str| format!("{CLUSTER}mirror = \"{mirror}\"\n");
    let sum = format!("sha256 = {{ arm64 = \"{}\" }}\n", "0".repeat(64));
    for (text, mirror) in [
        ("https://m.example:8443/a/b/", Mirror::Https("https://m.example:8443/a/b".into())),
        ("https://[fd00::1]/k3s", Mirror::Https("https://[fd00::1]/k3s".into())),
        ("file:/srv/k3s", Mirror::Directory("/srv/k3s".into())),
        ("file:///srv/k3s/", Mirror::Directory("/srv/k3s".into())),
    ] {
        assert_eq!(settings(&with(text)).cluster.unwrap().mirror, Some(mirror));
    }
    let http = settings(&format!("{}{sum}", with("http://10.0.1.2")));
    assert_eq!(http.cluster.unwrap().mirror, Some(Mirror::Http("http://10.0.1.2".into())));
    for bad in [
        "",
        "m.example",
        "https://",
        "https:///k3s",
        "ftp://x",
        "file:",
        "file:k3s",
        "file:/a/../b",
        "https://a b",
        "http://x",
    ] {
        assert_eq!(wrong(&with(bad))[0].0, "cluster.mirror", "{bad}");
    }
}

#[test]
fn options_add_up_in_name_order() {
    let files = [
        file("10.toml", &format!("{CLUSTER}[cluster.config]\ndisable = [\"a\"]\n\"tls-san+\" = \"x\"\n")),
        file(
            "20.toml",
            "[cluster.config]\n\"disable+\" = [\"b\"]\n\"tls-san+\" = [\"y\"]\n\"kubelet-arg+\" = [\"v=1\"]\n",
        ),
        file("30.toml", "[cluster.config]\n\"disable+\" = [\"c\"]\nkubelet-arg = [\"v=2\"]\n"),
    ];
    let loaded = load(&files).unwrap();
    let config = &loaded.settings.cluster.unwrap().config;
    assert_eq!(config["disable"], ConfigValue::Many(vec![text("a"), text("b"), text("c")]));
    assert_eq!(config["tls-san+"], ConfigValue::Many(vec![text("x"), text("y")]));
    assert_eq!(config["kubelet-arg"], ConfigValue::Many(vec![text("v=2")]));
    assert_eq!(config.len(), 3);
    let disable = loaded.origins.get("cluster.config.disable").unwrap();
    assert_eq!(disable.value, "[\"a\", \"b\", \"c\"]");
    assert_eq!(disable.added_to.len(), 2);
    let argument = loaded.origins.get("cluster.config.kubelet-arg").unwrap();
    assert_eq!(argument.replaced[0].file, PathBuf::from("/etc/bowline/config.d/20.toml"));
}

#[test]
fn later_files_replace_and_origins_say_so() {
    let base = "[[volume]]\nname = \"b\"\nserial = \"1\"\nmount = \"/b\"\noptions = [\"noatime\"]\n\
                [[volume]]\nname = \"a\"\nserial = \"2\"\nmount = \"/a\"\n";
    let files = [
        file("30-c.toml", "[log]\nlevel = \"warn\"\n"),
        file("10-a.toml", &format!("log.level = \"debug\"\n{base}")),
        file("20-b.toml", "[log]\nlevel = \"error\"\n[[volume]]\nname = \"b\"\noptions = []\nmount = \"/c\"\n"),
    ];
    let loaded = load(&files).unwrap();
    assert_eq!(loaded.settings.log.level, LogLevel::Warn);
    let names: Vec<_> = loaded.settings.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(loaded.settings.volumes[0].mount, Path::new("/c"));
    assert!(loaded.settings.volumes[0].options.is_empty());
    let level = loaded.origins.get("log.level").unwrap();
    assert_eq!(level.place.to_string(), "/etc/bowline/config.d/30-c.toml:2:1");
    let replaced: Vec<_> = level.replaced.iter().map(ToString::to_string).collect();
    assert_eq!(replaced, ["/etc/bowline/config.d/10-a.toml:1:5", "/etc/bowline/config.d/20-b.toml:2:1"]);
    let name = loaded.origins.get("volume.b.name").unwrap();
    assert_eq!(name.place.line, 3);
    assert!(name.replaced.is_empty());
    let mut turned = files.clone();
    turned.reverse();
    assert_eq!(load(&turned).unwrap(), loaded);
}

#[test]
fn a_problem_in_a_replaced_value_is_one_still() {
    let files = [file("10.toml", "[log]\nlevel = \"loud\"\nlevle = 1\n"), file("20.toml", "[log]\nlevel = \"info\"\n")];
    let errors = load(&files).unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| error.place.file.ends_with("10.toml")));
}

#[test]
fn a_file_that_is_no_toml_does_not_hide_the_others() {
    let files = [file("10.toml", "[cluster\n"), file("20.toml", "[log]\nlevel = 3\n[cluster]\nrole = \"server\"\n")];
    let errors = load(&files).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    // What is missing may be in the first file: that is not said.
    assert_eq!(keys, ["", "log.level"]);
}

#[test]
fn windows_line_ends_and_byte_order_marks() {
    let loaded = one("\u{feff}[log]\r\nlevel = \"warn\"\r\n").unwrap();
    assert_eq!(loaded.origins.get("log.level").unwrap().place.line, 2);
    let errors = one("[log]\r\nlevle = 1\r\n").unwrap_err();
    assert!(errors.to_string().contains("   2 | levle = …\n"));
    let errors = one("[log]\r\nlevel = 1\r\n").unwrap_err();
    assert!(errors.to_string().contains("   2 | level = 1\n"));
}

#[test]
fn unstable_device_names_are_accepted_with_a_warning() {
    let with =
        |device: &str| one(&format!("[[volume]]\nname = \"a\"\ndevice = \"{device}\"\nmount = \"/a\"\n")).unwrap();
    assert_eq!(with("/dev/sdb").warnings.len(), 1);
    assert_eq!(with("/dev/nvme1n1").warnings.len(), 1);
    assert!(with("/dev/oracleoci/oraclevds").warnings.is_empty());
    assert!(with("/dev/disk/by-id/x").warnings.is_empty());
}

#[test]
fn options_that_k3s_may_have_one_day_are_passed_on_with_a_warning() {
    let loaded = one(&format!("{CLUSTER}[cluster.config]\nquantum-backend = \"x\"\n")).unwrap();
    assert!(loaded.warnings[0].message.contains("quantum-backend"));
    assert_eq!(loaded.settings.cluster.unwrap().config["quantum-backend"], ConfigValue::One(text("x")));
}

#[test]
fn listening_outside_needs_someone_who_may() {
    let metrics = |listen: &str, allow: &str| one(&format!("[metrics]\nlisten = [{listen}]\n{allow}"));
    assert!(metrics("\"127.0.0.2:1\", \"[::1]:1\"", "").is_ok());
    assert!(metrics("", "").unwrap().settings.metrics.listen.is_empty());
    assert!(metrics("\"{address}:1\"", "allow = [\"10.0.0.0/8\"]").is_ok());
    for outside in ["\"{address}:1\"", "\"0.0.0.0:1\"", "\"10.0.1.2:1\"", "\"[::]:1\""] {
        assert!(metrics(outside, "").is_err(), "{outside}");
        assert!(metrics(outside, "allow = []").is_err(), "{outside}");
    }
}

#[test]
fn errors_are_for_machines_too() {
    let errors = one("[log]\nlevel = \"infos\"\n").unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[0]["file"], "/etc/bowline/config.d/10-test.toml");
    assert_eq!((json[0]["line"].as_u64(), json[0]["column"].as_u64()), (Some(2), Some(9)));
    assert_eq!(json[0]["key"], "log.level");
    assert_eq!(json[0]["suggestion"], "did you mean \"info\"?");
    assert_eq!(json[0]["snippet"]["text"], "level = \"infos\"");
}

#[test]
fn what_can_never_work_is_refused() {
    let complains = |text: &str, words: &str| {
        let wrong = wrong(text);
        assert!(wrong.iter().any(|(_, message)| message.contains(words)), "{text}: {wrong:?}");
    };
    for host in ["mirror.example:99999", "mirror.example:0", "mirror.example:abc", "mirror.example:"] {
        complains(&format!("{CLUSTER}mirror = \"https://{host}/k3s\"\n"), "a port is 1 to 65535");
    }
    for host in ["-mirror.example", "mirror..example", "mirror.exa%mple", "mir*ror"] {
        complains(&format!("{CLUSTER}mirror = \"https://{host}/k3s\"\n"), "is no host name");
    }
    complains(&format!("{CLUSTER}mirror = \"https://[fd00::zz]/k3s\"\n"), "is no IPv6 address");
    for host in ["mirror.example:8443", "mirror", "10.0.1.2:443", "[fd00::2]", "[fd00::2]:443", "my_mirror.example."] {
        assert!(settings(&format!("{CLUSTER}mirror = \"https://{host}/k3s\"\n")).cluster.is_some(), "{host}");
    }
    let listen = |places: &str| format!("[metrics]\nlisten = [{places}]\nallow = [\"10.0.1.0/24\"]\n");
    for places in [
        "\"127.0.0.1:9787\", \"0.0.0.0:9787\"",
        "\"[::]:9787\", \"127.0.0.1:9787\"",
        "\"{address}:9787\", \"0.0.0.0:9787\"",
        "\"0.0.0.0:9787\", \"[::]:9787\"",
    ] {
        complains(&listen(places), "are in each other's way");
    }
    settings(&listen("\"127.0.0.1:9787\", \"0.0.0.0:9788\", \"{address}:9787\", \"[::1]:9787\""));
    for port in [6443, 10250] {
        complains(&format!("{CLUSTER}{}", listen(&format!("\"{{address}}:{port}\""))), "is in the way of Kubernetes");
        settings(&listen(&format!("\"{{address}}:{port}\"")));
    }
    for network in [
        "127.0.0.0/8",
        "127.0.0.1",
        "169.254.0.0/16",
        "169.254.7.0/24",
        "::1",
        "fe80::/10",
        "fe80:1::/32",
        "224.0.0.0/4",
        "ff02::/16",
    ] {
        complains(&format!("[node]\naddress = \"{network}\"\n"), "is ");
    }
    settings("[node]\naddress = \"0.0.0.0/0\"\n");
    settings("[node]\naddress = \"::/0\"\n");
}

/// The first that fits decides: one that a wider one hides is said.
#[test]
fn rules_that_are_never_reached_and_servers_without_a_store_to_share() {
    let rule = |name: &str, nodes: &str, from: &str| {
        format!("[[enroll.allow]]\nname = \"{name}\"\nnodes = \"{nodes}\"\nrole = \"agent\"\nfrom = \"{from}\"\n")
    };
    let warned = |text: &str| {
        let loaded = one(&format!("{CLUSTER}key-file = \"/etc/k\"\n{text}")).unwrap();
        loaded.warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    let pair = |nodes: &str, from: &str| warned(&(rule("wide", "w-*", "10.0.0.0/16") + &rule("narrow", nodes, from)));
    for (nodes, from) in [("w-1", "10.0.1.0/24"), ("w-*-x", "10.0.0.0/16"), ("w-*", "10.0.1.9")] {
        assert_eq!(pair(nodes, from).len(), 1, "{nodes} {from}");
    }
    for (nodes, from) in [("*", "10.0.1.0/24"), ("w-1", "10.0.0.0/8"), ("x-1", "10.0.1.0/24"), ("w*", "10.0.1.0/24")] {
        assert_eq!(pair(nodes, from), [""; 0], "{nodes} {from}");
    }
    let server = rule("second", "control-2", "10.0.1.11").replace("agent", "server");
    assert!(warned(&server)[0].contains("sqlite"));
    assert!(warned(&format!("[cluster.config]\ncluster-init = false\n{server}"))[0].contains("sqlite"));
    for store in ["cluster-init = true", "datastore-endpoint = \"nats://10.0.1.9\""] {
        assert_eq!(warned(&format!("[cluster.config]\n{store}\n{server}")), [""; 0], "{store}");
    }
}
