//! Answers as a real API server 1.34 gives them, from a small one in this process.

use super::*;
use bowline_ports::{Ready, TaintChange};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) const NODE: &str = r#"{
  "apiVersion": "v1", "kind": "Node",
  "metadata": {
    "name": "n1", "uid": "3f0c2a52-8a57-4d1c-9d3c-2f4c5d6e7f80", "resourceVersion": "77",
    "annotations": {"bowline/own-taints": "dedicated=db:NoSchedule", "k3s.io/x": "y"},
    "labels": {"role": "db", "kubernetes.io/hostname": "n1"},
    "managedFields": [
      {"manager": "k3s", "operation": "Update", "apiVersion": "v1", "time": "2026-11-21T07:00:00Z", "fieldsType": "FieldsV1",
       "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/hostname": {}}}}},
      {"manager": "bowline", "operation": "Apply", "apiVersion": "v1", "time": "2026-11-21T07:00:05Z", "fieldsType": "FieldsV1",
       "fieldsV1": {"f:metadata": {"f:labels": {"f:role": {}}}}},
      {"manager": "k3s", "operation": "Update", "subresource": "status", "apiVersion": "v1", "fieldsType": "FieldsV1",
       "fieldsV1": {"f:status": {"f:conditions": {}}}}
    ]
  },
  "spec": {"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"},
                      {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute",
                       "timeAdded": "2026-11-21T07:00:00Z"}]},
  "status": {
    "addresses": [{"type": "InternalIP", "address": "10.0.1.10"}, {"type": "Hostname", "address": "n1"}],
    "conditions": [{"type": "MemoryPressure", "status": "False"},
                   {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "cni plugin not initialized"}],
    "nodeInfo": {"architecture": "amd64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
      "kubeProxyVersion": "", "kubeletVersion": "v1.34.1+k3s1", "machineID": "", "operatingSystem": "linux",
      "osImage": "", "systemUUID": ""}
  }
}"#;

const CONFLICT: &str = r#"{
  "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
  "message": "Apply failed with 1 conflict: conflict with \"kubectl-label\" using v1: .metadata.labels.node-role.kubernetes.io/db",
  "reason": "Conflict", "code": 409,
  "details": {"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-label\" using v1",
    "field": ".metadata.labels.node-role.kubernetes.io/db"}]}
}"#;

const MISSING: &str = r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
  "message": "nodes \"n1\" not found", "reason": "NotFound", "details": {"name": "n1", "kind": "nodes"}, "code": 404}"#;

/// Answers `GET` and `PATCH` with a status and a body each, and keeps what it was asked.
struct Api {
    kubeconfig: tempfile::NamedTempFile,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    async fn new(get: (u16, &'static str), patch: (u16, &'static str)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        write_kubeconfig(kubeconfig.path(), &listener.local_addr().unwrap().to_string());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    while let Some(request) = next(&mut stream).await {
                        let (code, body) = if request.starts_with("GET") { get } else { patch };
                        log.lock().unwrap().push(request);
                        let head = "Content-Type: application/json";
                        let text =
                            format!("HTTP/1.1 {code} x\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { kubeconfig, asked }
    }
}

pub(super) async fn next(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().to_owned()))
                .map_or(0, |v| v.parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        bytes.push(stream.read_u8().await.ok()?);
    }
}

pub(super) fn write_kubeconfig(path: &Path, address: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    server: http://{address}\n\
         contexts:\n- name: c\n  context:\n    cluster: c\n    user: u\ncurrent-context: c\n\
         users:\n- name: u\n  user:\n    token: very-secret\n"
    );
    std::fs::write(path, text).unwrap();
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("node-role.kubernetes.io/db".to_owned(), "true".to_owned())])
}

#[tokio::test]
async fn the_audit_log_of_the_api_can_tell_who_asks() {
    let api = Api::new((200, NODE), (200, NODE)).await;
    Clients::default().node(api.kubeconfig.path(), "n1").await.unwrap();
    let asked = api.asked.lock().unwrap()[0].to_ascii_lowercase();
    assert!(asked.contains(&format!("\nuser-agent: bowline/{}\r\n", env!("CARGO_PKG_VERSION"))), "{asked}");
}

#[tokio::test]
async fn a_node_with_its_managers() {
    let api = Api::new((200, NODE), (200, NODE)).await;
    let clients = Clients::default();
    let node = clients.node(api.kubeconfig.path(), "n1").await.unwrap().unwrap();
    assert_eq!(node.uid, "3f0c2a52-8a57-4d1c-9d3c-2f4c5d6e7f80");
    assert_eq!(node.managers["role"], ["bowline"]);
    assert_eq!(node.managers["kubernetes.io/hostname"], ["k3s"]);
    assert!(!node.managers.contains_key("."));
    assert_eq!((node.ready, node.ready_message.as_str()), (Ready::False, "cni plugin not initialized"));
    assert_eq!(node.internal_ips, ["10.0.1.10".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(node.taints, ["dedicated=db:NoSchedule", "node.kubernetes.io/not-ready=:NoExecute"]);
    assert_eq!(node.own_taints.as_deref(), Some("dedicated=db:NoSchedule"));
    assert_eq!(node.kubelet_version, "v1.34.1+k3s1");
    assert!(!node.cordoned && !node.unschedulable);
}

#[tokio::test]
async fn who_has_cordoned_a_node_is_read() {
    let mut cordoned = NODE.replace("\"k3s.io/x\": \"y\"", "\"bowline/cordoned\": \"true\"");
    for unschedulable in [false, true] {
        if unschedulable {
            cordoned = cordoned.replace("\"spec\": {", "\"spec\": {\"unschedulable\": true, ");
        }
        let node = serde_json::from_str::<node::Node>(&cordoned).unwrap().describe("n1");
        assert!(node.cordoned && node.unschedulable == unschedulable);
    }
}

#[tokio::test]
async fn a_missing_node_is_none_and_is_never_made() {
    let api = Api::new((404, MISSING), (200, NODE)).await;
    let clients = Clients::default();
    assert_eq!(clients.node(api.kubeconfig.path(), "n1").await.unwrap(), None);
    let error = clients.apply_labels(api.kubeconfig.path(), "n1", &labels()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(api.asked.lock().unwrap().iter().all(|r| r.starts_with("GET")));
}

#[tokio::test]
async fn labels_are_applied_with_the_nodes_uid_and_without_force() {
    let api = Api::new((200, NODE), (200, NODE)).await;
    Clients::default().apply_labels(api.kubeconfig.path(), "n1", &labels()).await.unwrap();
    let asked = api.asked.lock().unwrap();
    let patch = asked.iter().find(|r| r.starts_with("PATCH")).unwrap();
    let line = patch.lines().next().unwrap();
    assert!(line.starts_with("PATCH /api/v1/nodes/n1?") && line.contains("fieldManager=bowline"), "{line}");
    assert!(!line.contains("force=true"), "{line}");
    assert!(patch.to_ascii_lowercase().contains("application/apply-patch+yaml"));
    let body: serde_json::Value = serde_json::from_str(patch.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": "n1", "uid": "3f0c2a52-8a57-4d1c-9d3c-2f4c5d6e7f80",
            "labels": {"node-role.kubernetes.io/db": "true"}}})
    );
}

#[tokio::test]
async fn a_conflict_names_the_key_and_its_manager() {
    let api = Api::new((200, NODE), (409, CONFLICT)).await;
    let error = Clients::default().apply_labels(api.kubeconfig.path(), "n1", &labels()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert_eq!(
        error.message,
        "labelling the Node n1: another manager owns a label: node-role.kubernetes.io/db belongs to \"kubectl-label\""
    );
    assert!(error.hint.unwrap().ends_with(": kubectl label node n1 node-role.kubernetes.io/db-"));
}

fn change() -> TaintChange {
    TaintChange {
        uid: "3f0c2a52-8a57-4d1c-9d3c-2f4c5d6e7f80".into(),
        remove: vec!["dedicated=db:NoSchedule".into()],
        add: vec!["dedicated=kafka:NoSchedule".into(), "slow=:PreferNoSchedule".into()],
        before: Some("dedicated=db:NoSchedule".into()),
        after: "dedicated=kafka:NoSchedule,slow:PreferNoSchedule".into(),
    }
}

#[tokio::test]
async fn taints_are_written_on_the_condition_of_what_was_read_and_others_stay_whole() {
    let api = Api::new((200, NODE), (200, NODE)).await;
    Clients::default().set_taints(api.kubeconfig.path(), "n1", &change()).await.unwrap();
    let asked = api.asked.lock().unwrap();
    let patch = asked.iter().find(|r| r.starts_with("PATCH")).unwrap();
    assert!(patch.to_ascii_lowercase().contains("application/merge-patch+json"));
    let body: serde_json::Value = serde_json::from_str(patch.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "metadata": {
                "uid": "3f0c2a52-8a57-4d1c-9d3c-2f4c5d6e7f80", "resourceVersion": "77",
                "annotations": {"bowline/own-taints": "dedicated=kafka:NoSchedule,slow:PreferNoSchedule"}},
            "spec": {"taints": [
                {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-11-21T07:00:00Z"},
                {"key": "dedicated", "value": "kafka", "effect": "NoSchedule"},
                {"key": "slow", "effect": "PreferNoSchedule"}]}})
    );
}

#[tokio::test]
async fn taints_that_moved_since_the_look_are_not_written() {
    let api = Api::new((200, NODE), (200, NODE)).await;
    let other = TaintChange { uid: "another".into(), ..change() };
    let gone = TaintChange { remove: vec!["dedicated=x:NoSchedule".into()], ..change() };
    let record = TaintChange { before: None, ..change() };
    for change in [other, gone, record] {
        let error = Clients::default().set_taints(api.kubeconfig.path(), "n1", &change).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    }
    assert!(api.asked.lock().unwrap().iter().all(|r| r.starts_with("GET")));
}

#[tokio::test]
async fn a_node_that_moves_all_the_time_is_looked_at_again() {
    const MOVED: &str = r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the object has been modified", "reason": "Conflict", "code": 409}"#;
    let api = Api::new((200, NODE), (409, MOVED)).await;
    let error = Clients::default().set_taints(api.kubeconfig.path(), "n1", &change()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert_eq!(api.asked.lock().unwrap().iter().filter(|r| r.starts_with("PATCH")).count(), 4);
}

#[tokio::test]
async fn an_api_that_is_away_and_one_that_forbids() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    write_kubeconfig(kubeconfig.path(), &closed.to_string());
    let error = Clients::default().node(kubeconfig.path(), "n1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.starts_with("reading the Node n1: the Kubernetes API cannot be reached"), "{error}");

    const FORBIDDEN: &str = r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "nodes \"n1\" is forbidden", "reason": "Forbidden", "code": 403}"#;
    let api = Api::new((403, FORBIDDEN), (403, FORBIDDEN)).await;
    let error = Clients::default().node(api.kubeconfig.path(), "n1").await.unwrap_err();
    assert_eq!((error.kind, error.message.ends_with("nodes \"n1\" is forbidden")), (ErrorKind::Denied, true));
}

#[tokio::test]
async fn a_kubeconfig_that_is_missing_broken_or_replaced() {
    let clients = Clients::default();
    let error = clients.node(Path::new("/no/such/k3s.yaml"), "n1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "token: [very-secret").unwrap();
    let error = clients.node(file.path(), "n1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!error.message.contains("very-secret"), "{error}");
    let api = Api::new((200, NODE), (200, NODE)).await;
    std::fs::copy(api.kubeconfig.path(), file.path()).unwrap();
    assert!(clients.node(file.path(), "n1").await.unwrap().is_some(), "the replaced file counts at once");
}

#[tokio::test]
async fn credentials_on_a_filesystem_that_hangs_hold_nothing_else_up() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("admin.kubeconfig");
    // Opening it waits until somebody writes.
    nix::unistd::mkfifo(&kubeconfig, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let clients = Clients::default();
    let late = tokio::time::timeout(std::time::Duration::from_millis(50), clients.node(&kubeconfig, "n1")).await;
    // For reading as well: that waits for nobody, where a busy machine has not begun. Who comes later finds nothing to wait for.
    let writer = std::fs::File::options().read(true).write(true).open(&kubeconfig).unwrap();
    std::fs::remove_file(&kubeconfig).unwrap();
    drop(writer);
    assert!(late.is_err());
}
