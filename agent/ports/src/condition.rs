//! The conditions that capabilities state and ask each other for, by their keys. A value that is not said here is `yes`.

/// The node's name.
pub const NAME: &str = "name";
/// The node's address.
pub const ADDRESS: &str = "address";
/// The interface that has it.
pub const INTERFACE: &str = "interface";
/// The address by which others reach it from outside.
pub const EXTERNAL_ADDRESS: &str = "external-address";
/// `ok`: there is a default route.
pub const DEFAULT_ROUTE: &str = "default-route";
/// `ok`: the clock can be trusted.
pub const CLOCK: &str = "clock";
/// How far the clock is off that of the cluster's servers, as text, where it is too far.
pub const SKEW: &str = "skew";

/// When K3s was stopped to release a volume, in seconds since boot.
pub const STOPPED_FOR_RELEASE: &str = "stopped-for-release";
/// The Node was told to take no pods for the release of a volume, and no volume asks for that any more: all were looked at.
pub const CORDON_OVER: &str = "cordon-over";

/// The servers have let this machine in: the hash of the cluster's CA.
pub const ENROLLED: &str = "enrolled";
/// The release that the servers run.
pub const K3S_VERSION: &str = "k3s-version";
/// Where K3s joins, with commas between them.
pub const K3S_SERVERS: &str = "k3s-servers";
/// K3s's options that the servers agreed on, as JSON.
pub const K3S_OPTIONS: &str = "k3s-options";
/// The networks of the pods, with commas between them.
pub const CLUSTER_CIDR: &str = "cluster-cidr";
/// This server begins a cluster.
pub const K3S_FOUNDS: &str = "k3s-founds";
/// This server was taken out of etcd, and joins once more.
pub const JOINS_ANEW: &str = "joins-anew";
/// `held`: the servers said that this machine's name is its own, of a Node that is lost.
pub const CLAIM: &str = "claim";
/// The servers have set all that they set on this Node.
pub const NODE_SETTLED: &str = "node-settled";
/// K3s and its Node are to be left alone: the machine leaves its cluster, or was taken out of it.
pub const LEAVING: &str = "leaving";
/// It has left; `unasked`: without having asked the servers.
pub const LEFT: &str = "left";

/// `closed`: pods cannot reach the issuers' ports; `open`: the kernel cannot keep them from it.
pub const GUARD: &str = "guard";

/// `active`: K3s runs; `installed`: it does not, and it has been up on this machine, which has not left.
pub const K3S: &str = "k3s";
/// Which version's binary is in its place, whether K3s runs or not; none where there is none that runs.
pub const K3S_INSTALLED: &str = "k3s-installed";
/// How often systemd has restarted K3s since it was last started; none where there is no K3s.
pub const K3S_RESTARTS: &str = "k3s-restarts";
/// So often that it does not stay up.
pub const K3S_CRASHES: &str = "k3s-crashes";
/// The service of a K3s that is installed on this machine in the other role, or under a name of its own, and is refused.
pub const K3S_ELSEWHERE: &str = "k3s-elsewhere";
/// What K3s says of a cluster that does not take it.
pub const K3S_JOIN: &str = "k3s-join";
/// What K3s says of the server that it joins, which it does not reach.
pub const K3S_UNREACHED: &str = "k3s-unreached";
/// `registered`, or `ready`: the Node of a K3s that is Bowline's or adopted.
pub const NODE: &str = "node";
/// What was seen of the Node, as a hash: it changes with that.
pub const NODE_SEEN: &str = "node-seen";
/// The Node was there, and is not any more.
pub const NODE_LOST: &str = "node-lost";
/// The API of the cluster does not answer as it did.
pub const API_SILENT: &str = "api-silent";

/// `applied`: the Node has its labels.
pub const LABELS: &str = "labels";

/// How many bytes are kept for when the disk of the system is about to be full; `missing`: there should be some.
pub const RESERVE: &str = "reserve";

/// How the keys of volumes that stand as the settings say begin.
pub const VOLUMES: &str = "volume/";
/// How the keys of what was freed begin.
pub const ROOM: &str = "reclaimed/";

/// `ready`: the volume stands as the settings say.
pub fn volume(name: &str) -> String {
    format!("{VOLUMES}{name}")
}

/// How many bytes the volume's disk has.
pub fn volume_size(name: &str) -> String {
    format!("volume-size/{name}")
}

/// `set`: Kubernetes cannot start without the volume.
pub fn gate(name: &str) -> String {
    format!("gate/{name}")
}

/// A person has released the volume, and it is unmounted.
pub fn released(name: &str) -> String {
    format!("released/{name}")
}

/// The volume was away: from when until when, and when its disk last came, in microseconds since boot, with `-` between them.
pub fn absence(name: &str) -> String {
    format!("absence/{name}")
}

/// How many bytes of a kind were freed in all.
pub fn reclaimed(what: &str) -> String {
    format!("{ROOM}{what}")
}
