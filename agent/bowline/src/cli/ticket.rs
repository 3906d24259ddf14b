//! `bowline ticket`: what lets one machine in under one name. Holds no `Change`, and asks nobody.

use super::{INVALID, load, output};
use crate::key;
use bowline_enroll::key::Ticket;
use bowline_enroll::{NodeName, Role};
use bowline_settings::{Cidr, ENROLL_PORT, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What stands in a document where no address is known. It is no valid address, so that `bowline check` finds it.
const PLACEHOLDER: &str = "ADDRESS-OF-A-SERVER";

pub(super) async fn run(
    folder: &Path,
    name: &NodeName,
    role: Role,
    key_file: Option<PathBuf>,
    cloud_init: bool,
) -> ExitCode {
    if cloud_init && role == Role::Server {
        output::complain("a server has no ticket in its settings: it derives its own from the cluster key");
        output::complain("  help: give it `servers` and `key-file` in [cluster]");
        return ExitCode::from(INVALID);
    }
    // A machine without Bowline's settings needs none where the key is named.
    let settings = match (&key_file, cloud_init) {
        (Some(_), false) => Settings::default(),
        _ => match load::or_complain(folder) {
            Some(loaded) => loaded.settings,
            None => return ExitCode::from(INVALID),
        },
    };
    let of_settings = || settings.cluster.as_ref()?.join.key_file.clone();
    let Some(path) = key_file.or_else(of_settings) else {
        let folder = folder.display();
        output::complain(&format!("the cluster key is not known here: no `cluster.key-file` in {folder}"));
        output::complain("  help: name the file that has it with `--key-file FILE`");
        return ExitCode::FAILURE;
    };
    let Some(host) = output::machine() else { return ExitCode::FAILURE };
    let ticket = match key::read(&host, &path).await {
        Ok(keys) => keys.ticket(role, name),
        Err(error) => {
            output::complain_of(&error);
            return ExitCode::FAILURE;
        }
    };
    // There always is a first key.
    let Some(ticket) = ticket else { return ExitCode::FAILURE };
    if cloud_init {
        let server = server(&settings);
        if server.is_none() {
            output::complain(&format!("write the address of a server in the place of {PLACEHOLDER}"));
        }
        let network = settings.node.address.filter(|network| !network.is_single());
        output::print_as_is(&document(name, &ticket, server.as_deref().unwrap_or(PLACEHOLDER), network));
    } else {
        if role == Role::Server {
            output::complain("no server needs this: each derives its own ticket from its `cluster.key-file`");
        }
        output::print_as_is(&ticket.expose());
    }
    ExitCode::SUCCESS
}

/// Where this machine answers joiners, when it is a server and its settings name one address.
fn server(settings: &Settings) -> Option<String> {
    settings.cluster.as_ref().filter(|cluster| cluster.role == Role::Server)?;
    let address = settings.node.address.filter(|network| network.is_single())?.address();
    let listen = settings.enroll.as_ref().and_then(|enroll| enroll.listen.first());
    let port = listen.map_or(ENROLL_PORT, |listen| listen.port);
    let default = port == ENROLL_PORT;
    Some(if default { address.to_string() } else { SocketAddr::new(address, port).to_string() })
}

/// The settings of an agent as a cloud-init document, in a file of its own: laid over the document's other settings, it
/// takes nothing from them. The name stands in it too: the ticket is for no other, whatever the machine's host name turns
/// out to be. The network in which this server looks for its own address is a comment only: an agent may be in another.
fn document(name: &NodeName, ticket: &Ticket, server: &str, network: Option<Cidr>) -> String {
    let ticket = ticket.expose();
    let address = network.map_or_else(String::new, |network| {
        format!("      # address = \"{network}\"   # the network of this server; the agent's own, if it is another\n")
    });
    format!(
        "#cloud-config\n\
         # For an image that has Bowline. It does not install it: for any other image put this\n\
         # entry, as one more, beneath write_files: in /usr/share/bowline/cloud-init/bowline.yaml.\n\
         # It is laid over 10-node.toml there, whose role, servers and name it replaces. Remove\n\
         # from 10-node.toml what agents do not have: key-file, ticket-file, datastore, init and\n\
         # init-wait of [cluster], what servers alone have of [cluster.config], [enroll], and of\n\
         # [node] the labels and taints, which the servers' rules grant.\n\
         write_files:\n\
         \x20 - path: /etc/bowline/config.d/20-join.toml\n\
         \x20   permissions: \"0600\"\n\
         \x20   content: |\n\
         \x20     [cluster]\n\
         \x20     distribution = \"k3s\"\n\
         \x20     role = \"agent\"\n\
         \x20     servers = [\"{server}\"]\n\
         \x20     ticket = \"{ticket}\"\n\
         \x20     [node]\n\
         \x20     name = \"{name}\"\n\
         {address}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_enroll::rules::{Wished, admit};
    use bowline_settings::SourceFile;

    fn settings(text: &str) -> Settings {
        let file = SourceFile { path: "/etc/bowline/config.d/10.toml".into(), text: text.into(), mode: 0o600, uid: 0 };
        bowline_settings::load(&[file]).unwrap().settings
    }

    const SERVER: &str = "[cluster]\ndistribution = \"k3s\"\nversion = \"v1.34.1+k3s1\"\nrole = \"server\"\n\
                          key-file = \"/etc/bowline/cluster.key\"\n";

    #[test]
    fn the_servers_address_only_where_the_settings_have_one() {
        for (more, address) in [
            ("", None),
            ("[node]\naddress = \"10.0.1.0/24\"\n", None),
            ("[node]\naddress = \"10.0.1.10\"\n", Some("10.0.1.10")),
            ("[node]\naddress = \"fd00::10\"\n", Some("fd00::10")),
            ("[node]\naddress = \"10.0.1.10/32\"\n[enroll]\nlisten = [\"{address}:9099\"]\n", Some("10.0.1.10:9099")),
        ] {
            assert_eq!(server(&settings(&format!("{SERVER}{more}"))).as_deref(), address, "{more}");
        }
        assert_eq!(server(&Settings::default()), None);
    }

    const SHIPPED: &str = include_str!("../../../../packaging/cloud-init/bowline.yaml");

    /// The settings file that a document writes to this path.
    fn written(document: &str, path: &str) -> SourceFile {
        let (_, entry) = document.split_once(&format!("  - path: {path}\n")).unwrap();
        let (_, content) = entry.split_once("content: |\n").unwrap();
        let lines = content.lines().take_while(|line| line.starts_with("      "));
        let lines = lines.map(|line| format!("{}\n", line.trim_start()));
        SourceFile { path: path.into(), text: lines.collect(), mode: 0o600, uid: 0 }
    }

    /// As one more entry of it: the volume of the document's own file stays.
    #[test]
    fn the_entry_is_laid_over_the_settings_of_the_shipped_document() {
        let ticket = Ticket::parse(&"0a".repeat(32)).unwrap();
        let name = NodeName::new("k3s-trading-dev-kafka-0").unwrap();
        let document = document(&name, &ticket, "10.0.1.10", "10.0.9.0/24".parse().ok());
        let shipped = SHIPPED.replace("@K3S_MIRROR@", "https://mirror.example.com");
        let (before, after) = shipped.split_once("write_files:\n").unwrap();
        let (_, entry) = document.split_once("write_files:\n").unwrap();
        let whole = format!("{before}write_files:\n{entry}{after}");
        let labels = "      labels = { role = \"control-plane\", \"node-role.kubernetes.io/ingress\" = \"true\" }\n";
        assert!(whole.contains(labels));
        let agent = whole.replacen(labels, "", 1);
        let files = |whole: &str| {
            ["10-node.toml", "20-join.toml"].map(|name| written(whole, &format!("/etc/bowline/config.d/{name}")))
        };
        let read = bowline_settings::load(&files(&agent)).unwrap();
        assert_eq!(read.warnings, []);
        let cluster = read.settings.cluster.unwrap();
        assert_eq!((cluster.role, cluster.join.servers[0].host.as_str()), (Role::Agent, "10.0.1.10"));
        assert_eq!(read.settings.node.name.as_deref(), Some(name.as_str()));
        assert_eq!(read.settings.node.address.unwrap().to_string(), "10.0.1.0/24");
        assert_eq!(read.settings.volumes.len(), 1);
        // The README's rule grants all that it asks for; of the server's labels it would be cut, and never be ready.
        assert!(document.contains("[node] the labels and taints"));
        let readme = include_str!("../../../../README.md");
        let (_, rule) = readme.split_once("\n[[enroll.allow]]\n").unwrap();
        let (rule, _) = rule.split_once("```").unwrap();
        let rules = settings(&format!("{SERVER}[[enroll.allow]]\n{rule}")).enroll.unwrap().allow;
        let cut = |whole: &str| {
            let node = bowline_settings::load(&files(whole)).unwrap().settings.node;
            let wished = Wished { labels: node.labels, taints: node.taints };
            admit(&rules, Role::Agent, &name, "10.0.1.20".parse().unwrap(), &wished).unwrap().cut
        };
        assert_eq!(cut(&agent), []);
        assert_eq!(cut(&whole).len(), 2);
        // What the entry says that is to be removed there is refused.
        for key in
            ["key-file = \"/k\"", "ticket-file = \"/t\"", "datastore = \"etcd\"", "init = true", "init-wait = \"1m\""]
        {
            let server = whole.replacen("role = \"server\"\n", &format!("role = \"server\"\n      {key}\n"), 1);
            assert!(bowline_settings::load(&files(&server)).is_err(), "{key}");
            assert!(document.contains(key.split(' ').next().unwrap()), "{key}");
        }
    }

    #[test]
    fn the_document_has_settings_that_are_valid_but_for_the_placeholder() {
        let ticket = Ticket::parse(&"0a".repeat(32)).unwrap();
        let name = NodeName::new("kafka-0").unwrap();
        let of = |server: &str| document(&name, &ticket, server, "10.0.1.0/24".parse().ok());
        let inner = |server: &str| written(&of(server), "/etc/bowline/config.d/20-join.toml");
        let read = settings(&inner("10.0.1.10").text);
        assert_eq!(read.node.name.as_deref(), Some("kafka-0"));
        assert_eq!(read.node.address, None);
        assert_eq!(read.cluster.unwrap().join.servers[0].host, "10.0.1.10");
        assert!(bowline_settings::load(&[inner(PLACEHOLDER)]).unwrap_err().to_string().contains(PLACEHOLDER));
    }
}
