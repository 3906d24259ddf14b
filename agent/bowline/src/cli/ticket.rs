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

/// The settings of an agent as a cloud-init document, in the file that the shipped one has its own in. The name stands in
/// it too: the ticket is for no other, whatever the machine's host name turns out to be. With the network in which this
/// server looks for its own address, where its settings name one.
fn document(name: &NodeName, ticket: &Ticket, server: &str, network: Option<Cidr>) -> String {
    let ticket = ticket.expose();
    let address = network.map_or_else(String::new, |network| format!("      address = \"{network}\"\n"));
    format!(
        "#cloud-config\n\
         # For an image that has Bowline. It does not install it: for any other image put this\n\
         # entry into /usr/share/bowline/cloud-init/bowline.yaml, beneath write_files:, in the\n\
         # place of the one with the same path.\n\
         write_files:\n\
         \x20 - path: /etc/bowline/config.d/10-node.toml\n\
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

    /// It replaces the entry with that path.
    #[test]
    fn the_document_names_the_file_of_the_shipped_one() {
        let shipped = include_str!("../../../../packaging/cloud-init/bowline.yaml");
        let ticket = Ticket::parse(&"0a".repeat(32)).unwrap();
        let document = document(&NodeName::new("kafka-0").unwrap(), &ticket, "10.0.1.10", None);
        let entry = document.lines().find(|line| line.contains("- path: ")).unwrap();
        assert!(shipped.lines().any(|line| line == entry), "{entry}");
        assert!(!document.contains("address ="), "{document}");
    }

    #[test]
    fn the_document_has_settings_that_are_valid_but_for_the_placeholder() {
        let ticket = Ticket::parse(&"0a".repeat(32)).unwrap();
        let name = NodeName::new("kafka-0").unwrap();
        let inner = |server: &str| -> String {
            let document = document(&name, &ticket, server, "10.0.1.0/24".parse().ok());
            let (_, content) = document.split_once("content: |\n").unwrap();
            content.lines().map(|line| format!("{}\n", line.strip_prefix("      ").unwrap())).collect()
        };
        let read = settings(&inner("10.0.1.10"));
        assert_eq!(read.node.name.as_deref(), Some("kafka-0"));
        assert_eq!(read.node.address.unwrap().to_string(), "10.0.1.0/24");
        assert_eq!(read.cluster.unwrap().join.servers[0].host, "10.0.1.10");
        let file = SourceFile { path: "a.toml".into(), text: inner(PLACEHOLDER), mode: 0o600, uid: 0 };
        assert!(bowline_settings::load(&[file]).unwrap_err().to_string().contains(PLACEHOLDER));
    }
}
