//! The scripts of K3s's unit that set authorities aside which are of no cluster, run by the shell, with folders of the test's own in
//! the place of the machine's.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use bowline_cluster::unit_text;
use bowline_settings::Role;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

const CONFIG: &str = "etc/config.yaml.d/50-bowline.yaml";
const MARK: &str = "server/bowline-founding";
const KEY: &str = "server/tls/server-ca.key";
const PASSWORDS: &str = "server/cred/passwd";

/// A server whose K3s is started by its unit.
struct Server(tempfile::TempDir);

impl Server {
    /// One that nothing was started on, with a server to join.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.joins();
        place
    }

    /// One that was started to found a cluster, and has a server to join since.
    fn that_began() -> Self {
        let place = Self::new();
        place.begins_to_found("founded");
        place.joins();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    fn joins(&self) {
        self.write(CONFIG, "\"server\": \"https://10.0.1.11:6443\"\n");
    }

    /// K3s is started without a server to join, and ends before it has data.
    fn begins_to_found(&self, text: &str) {
        self.write(CONFIG, "\"cluster-init\": true\n");
        self.begins();
        self.k3s_writes(text);
    }

    fn k3s_writes(&self, text: &str) {
        for name in [KEY, PASSWORDS] {
            self.write(name, text);
        }
    }

    /// What the unit does before it starts K3s.
    fn begins(&self) {
        self.runs("ExecStartPre=-/bin/sh -c '");
    }

    /// What it does when K3s has said that it is up.
    fn is_up(&self) {
        self.runs("ExecStartPost=-/bin/sh -c '");
    }

    fn runs(&self, command: &str) {
        let unit = unit_text(Role::Server).replace("\\\n", " ");
        let script = unit.lines().find_map(|line| line.strip_prefix(command)).unwrap();
        let here = |script: String, of: &str, name: &str| script.replace(of, &self.path(name).display().to_string());
        let script = here(script.strip_suffix('\'').unwrap().into(), "/var/lib/rancher/k3s/server", "server");
        let script = here(here(script, "/etc/rancher/k3s", "etc"), "/var/lib/bowline", "bowline");
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }

    /// K3s's two, where it has them.
    fn has(&self) -> [Option<String>; 2] {
        [KEY, PASSWORDS].map(|name| self.read(name))
    }

    /// All that was set aside of a folder's one, sorted.
    fn aside(&self, name: &str) -> Vec<String> {
        let all = fs::read_dir(self.path("server/bowline-set-aside")).into_iter().flatten();
        let mut all: Vec<_> =
            all.filter_map(|moment| fs::read_to_string(moment.unwrap().path().join(name)).ok()).collect();
        all.sort();
        all
    }
}

fn both(text: &str) -> [Option<String>; 2] {
    [Some(text.into()), Some(text.into())]
}

#[test]
fn who_founded_nothing_and_joins_has_the_clusters_authorities() {
    let server = Server::that_began();
    assert!(server.path(MARK).exists());
    assert_eq!(fs::metadata(server.path("server")).unwrap().permissions().mode() & 0o777, 0o700);
    server.begins();
    assert_eq!(server.has(), [None, None]);
    // What K3s gets from the cluster stays, however often it is started before it is a member.
    server.k3s_writes("the cluster's");
    server.begins();
    assert_eq!(server.has(), both("the cluster's"));
    assert_eq!(
        (server.aside("tls/server-ca.key"), server.aside("cred/passwd")),
        (vec!["founded".into()], vec!["founded".into()])
    );
}

/// Its first start got them, and ended before etcd had data.
#[test]
fn what_was_fetched_of_a_cluster_stays() {
    let server = Server::new();
    server.begins();
    assert!(!server.path("server").exists());
    server.k3s_writes("the cluster's");
    server.begins();
    // Started without a server to join, K3s would found with these: there are none of its own to tell them from.
    server.write(CONFIG, "");
    server.begins();
    server.joins();
    server.begins();
    assert_eq!((server.has(), server.path("server/bowline-set-aside").exists()), (both("the cluster's"), false));
}

#[test]
fn what_was_founded_a_second_time_goes_aside_as_well() {
    let server = Server::that_began();
    server.begins();
    server.begins_to_found("founded again");
    // However often that fails.
    server.begins_to_found("founded again");
    server.joins();
    server.begins();
    assert_eq!((server.has(), server.path(MARK).exists()), ([None, None], false));
    for name in ["tls/server-ca.key", "cred/passwd"] {
        assert_eq!(server.aside(name), ["founded", "founded again"]);
    }
}

#[test]
fn what_was_interrupted_is_done_again() {
    for done in [&[][..], &["cred"], &["cred", "tls"]] {
        let server = Server::that_began();
        let before = server.path("server/bowline-set-aside/tmp.earlier");
        fs::create_dir_all(&before).unwrap();
        for name in done {
            fs::rename(server.path("server").join(name), before.join(name)).unwrap();
        }
        server.begins();
        assert_eq!((server.has(), server.path(MARK).exists()), ([None, None], false), "{done:?}");
        for name in ["tls/server-ca.key", "cred/passwd"] {
            assert_eq!(server.aside(name), ["founded"], "{done:?}");
        }
    }
}

#[test]
fn what_belongs_to_a_cluster_stays() {
    let data = ["server/db/etcd/member/wal", "server/db/etcd/tombstone", "server/db/state.db"];
    for name in data {
        let server = Server::that_began();
        server.write(name, "");
        server.begins();
        assert_eq!((server.has(), server.path(MARK).exists()), (both("founded"), false), "{name}");
    }
    // Its data may be in a database elsewhere.
    let server = Server::that_began();
    server.is_up();
    server.begins();
    assert_eq!((server.has(), server.path(MARK).exists()), (both("founded"), false));
}
