//! The script of K3s's unit that sets authorities aside which are of no cluster, run by the shell, with folders of the test's own in
//! the place of the machine's.
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use bowline_cluster::unit_text;
use bowline_settings::Role;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A server that was started to found a cluster, and has a server to join since.
struct Server(tempfile::TempDir);

impl Server {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("server/tls/server-ca.key", "founded");
        place.write("server/tls/etcd/peer-ca.key", "founded");
        place.write("server/cred/passwd", "founded");
        place.write("etc/config.yaml.d/50-bowline.yaml", "\"server\": \"https://10.0.1.11:6443\"\n");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// What the unit does before it starts K3s.
    fn begins(&self) {
        let unit = unit_text(Role::Server).replace("\\\n", " ");
        let script = unit.lines().find_map(|line| line.strip_prefix("ExecStartPre=-/bin/sh -c '")).unwrap();
        let here = |script: String, of: &str, name: &str| script.replace(of, &self.path(name).display().to_string());
        let script = here(script.strip_suffix('\'').unwrap().into(), "/var/lib/rancher/k3s/server", "server");
        let output = Command::new("/bin/sh").args(["-c", &here(script, "/etc/rancher/k3s", "etc")]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }

    /// Which of a folder's two are there.
    fn has(&self, folder: &str) -> [bool; 2] {
        ["cred/passwd", "tls/server-ca.key"].map(|name| self.path(folder).join(name).exists())
    }
}

const ASIDE: &str = "server/bowline-set-aside";

#[test]
fn who_founded_nothing_and_joins_has_the_clusters_authorities() {
    let server = Server::new();
    server.begins();
    assert_eq!((server.has("server"), server.has(ASIDE)), ([false; 2], [true; 2]));
    // What K3s gets from the cluster stays, however often it is started before it is a member.
    server.write("server/tls/server-ca.key", "the cluster's");
    server.write("server/cred/passwd", "the cluster's");
    server.begins();
    assert_eq!((server.has("server"), server.has(ASIDE)), ([true; 2], [true; 2]));
    assert_eq!(fs::read_to_string(server.path(ASIDE).join("tls/server-ca.key")).unwrap(), "founded");
}

#[test]
fn what_was_interrupted_is_done_again() {
    for done in [&[][..], &["cred"]] {
        let server = Server::new();
        fs::create_dir(server.path(ASIDE)).unwrap();
        for name in done {
            fs::rename(server.path("server").join(name), server.path(ASIDE).join(name)).unwrap();
        }
        server.begins();
        assert_eq!((server.has("server"), server.has(ASIDE)), ([false; 2], [true; 2]), "{done:?}");
    }
}

#[test]
fn what_belongs_to_a_cluster_stays() {
    let of = |name: &str| {
        let server = Server::new();
        server.write(name, "");
        server
    };
    let founds = Server::new();
    fs::remove_file(founds.path("etc/config.yaml.d/50-bowline.yaml")).unwrap();
    let [member, out, sqlite] = ["server/db/etcd/member/wal", "server/db/etcd/tombstone", "server/db/state.db"].map(of);
    for server in [member, out, sqlite, founds] {
        server.begins();
        assert_eq!((server.has("server"), server.path(ASIDE).exists()), ([true; 2], false));
    }
    let fresh = Server::new();
    fs::remove_dir_all(fresh.path("server")).unwrap();
    fresh.begins();
    assert!(!fresh.path("server").exists());
}
