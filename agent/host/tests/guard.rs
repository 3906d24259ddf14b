//! Ports that are closed to pods, in network namespaces of the test's own: a node, a pod on it, another machine, and
//! a pod behind that. Real packets through the real kernel. Needs root, `ip` (iproute2) and `nft` (nftables).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bowline_host::real::guard::Closed;
use bowline_ports::{ErrorKind, GuardOrder};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// One test at a time: a program that another one starts would have the owner's socket too for a moment, and keep the table.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace: a thread that is in it, and does there what it is given.
struct Namespace {
    work: mpsc::Sender<Work>,
    path: String,
}

impl Namespace {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this needs root: it makes network namespaces");
        let (work, todo) = mpsc::channel::<Work>();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            todo.into_iter().for_each(|work| work());
        });
        let mut namespace = Self { work, path: String::new() };
        namespace.path =
            namespace.run(|| format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()));
        namespace.ip("link set lo up");
        // Addresses of IPv6 are good at once, those of the links too.
        for of in ["all", "default"] {
            namespace.set(&format!("/proc/sys/net/ipv6/conf/{of}/accept_dad"), "0");
        }
        namespace
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, end) = mpsc::channel();
        self.work.send(Box::new(move || drop(result.send(work())))).unwrap();
        end.recv().expect("the work in the namespace panicked")
    }

    /// Runs a program of the machine in it; `Err` has its words.
    fn program(&self, program: &'static str, arguments: &str) -> Result<String, String> {
        let words: Vec<String> = arguments.split_whitespace().map(String::from).collect();
        self.run(move || {
            let output = Command::new(program).args(words).output().map_err(|e| format!("{program}: {e}"))?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
        })
    }

    fn ip(&self, arguments: &str) {
        self.program("ip", arguments).unwrap_or_else(|words| panic!("ip {arguments}: {words}"));
    }

    /// A cable to another one; both ends with their addresses.
    fn cable(&self, name: &str, addresses: &[&str], other: &Self, far: &str, far_addresses: &[&str]) {
        self.ip(&format!("link add {name} type veth peer name {far} netns {}", other.path));
        for (namespace, name, addresses) in [(self, name, addresses), (other, far, far_addresses)] {
            for address in addresses {
                namespace.ip(&format!("address add {address} dev {name}"));
            }
            namespace.ip(&format!("link set {name} up"));
        }
    }

    fn forwards(&self) {
        self.set("/proc/sys/net/ipv4/ip_forward", "1");
        self.set("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    }

    fn set(&self, file: &str, value: &'static str) {
        let file = file.to_owned();
        self.run(move || std::fs::write(file, value)).unwrap();
    }

    /// Listens on all addresses, for as long as the test runs.
    fn listens(&self, ports: &[u16]) {
        for port in ports.iter().copied() {
            self.run(move || {
                let listener = TcpListener::bind(SocketAddr::new("::".parse().unwrap(), port)).unwrap();
                thread::spawn(move || listener.incoming().for_each(drop));
            });
        }
    }

    /// For as long as a busy machine may take.
    fn reaches(&self, at: &str) -> bool {
        self.connects(at, Duration::from_secs(20))
    }

    /// Long enough for a packet, had it been let through.
    fn misses(&self, at: &str) -> bool {
        !self.connects(at, Duration::from_millis(700))
    }

    fn connects(&self, at: &str, within: Duration) -> bool {
        let at: SocketAddr = at.parse().unwrap();
        self.run(move || TcpStream::connect_timeout(&at, within).is_ok())
    }
}

/// The node at 10.0.1.10 with the pod 10.42.0.5, and the machine at 10.0.1.20 with the pod 10.42.1.5: routed, as by
/// flannel's host-gw, so that its packets come in by the machines' own interface.
struct Site {
    node: Namespace,
    pod: Namespace,
    machine: Namespace,
    far_pod: Namespace,
}

fn site() -> Site {
    let site =
        Site { node: Namespace::new(), pod: Namespace::new(), machine: Namespace::new(), far_pod: Namespace::new() };
    let Site { node, pod, machine, far_pod } = &site;
    node.forwards();
    machine.forwards();
    node.cable("eth1", &["10.0.1.10/24", "fd00:1::10/64"], machine, "eth1", &["10.0.1.20/24", "fd00:1::20/64"]);
    node.cable("cni0", &["10.42.0.1/24", "fd00:42::1/120"], pod, "eth0", &["10.42.0.5/24", "fd00:42::5/120"]);
    machine.cable(
        "cni0",
        &["10.42.1.1/24", "fd00:42::101/120"],
        far_pod,
        "eth0",
        &["10.42.1.5/24", "fd00:42::105/120"],
    );
    for (pod, of) in [(pod, ["10.42.0.1", "fd00:42::1"]), (far_pod, ["10.42.1.1", "fd00:42::101"])] {
        of.iter().for_each(|gateway| pod.ip(&format!("route add default via {gateway}")));
    }
    for (from, to, via) in [(node, 1, "20"), (machine, 0, "10")] {
        from.ip(&format!("route add 10.42.{to}.0/24 via 10.0.1.{via}"));
        from.ip(&format!("route add fd00:42::{to}00/120 via fd00:1::{via}"));
    }
    [node, pod, machine, far_pod].iter().for_each(|all| all.listens(&[7470, 7471]));
    // A link that has just come up loses the first packets.
    for at in ["10.0.1.20:7470", "[fd00:1::20]:7470", "10.42.1.5:7470", "[fd00:42::105]:7470"] {
        assert!((0..10).any(|_| pod.reaches(at)), "{at} is open before");
    }
    site
}

fn order() -> GuardOrder {
    GuardOrder {
        machines: vec!["eth1".into()],
        here: vec![7470],
        elsewhere: vec![7470],
        pods: vec![("10.42.0.0".parse().unwrap(), 16), ("fd00:42::".parse().unwrap(), 56)],
    }
}

#[test]
fn pods_reach_no_issuer_and_all_else_is_as_before() {
    let _alone = alone();
    let Site { node, pod, machine, far_pod } = &site();
    assert!(pod.reaches("10.0.1.10:7470") && pod.reaches("[fd00:1::10]:7470"), "open before");
    let closed = node.run(|| Closed::new(&order())).unwrap();

    for at in ["10.0.1.10:7470", "[fd00:1::10]:7470", "10.0.1.20:7470", "[fd00:1::20]:7470"] {
        assert!(pod.misses(at), "{at} is closed to pods, here and elsewhere");
        assert!(pod.reaches(&at.replace("7470", "7471")), "only this one port");
        assert!(node.reaches(at), "{at}: the machine itself may");
    }
    for at in ["10.0.1.10:7470", "[fd00:1::10]:7470", "10.42.0.5:7470", "[fd00:42::5]:7470"] {
        assert!(machine.reaches(at), "{at}: other machines may, and may reach what is in a pod");
    }
    for at in ["10.42.1.5:7470", "[fd00:42::105]:7470"] {
        assert!(pod.reaches(at), "{at}: among pods it is a port like others");
    }
    assert!(far_pod.reaches("10.42.0.5:7470"));

    // Nobody else can open it.
    node.program("nft", "flush ruleset").unwrap();
    let said = node.program("nft", "delete table inet bowline").unwrap_err();
    assert!(said.contains("not permitted"), "{said}");
    assert!(pod.misses("10.0.1.10:7470") && pod.misses("[fd00:1::20]:7470"));
    let second = node.run(|| Closed::new(&order())).unwrap_err();
    assert_eq!(second.kind, ErrorKind::Denied, "{second}");
    assert!(pod.misses("10.0.1.10:7470"));

    drop(closed);
    assert!(pod.reaches("10.0.1.10:7470") && pod.reaches("[fd00:1::20]:7470"), "it goes with its owner");
    assert_eq!(node.program("nft", "list ruleset").unwrap().trim(), "");
}

#[test]
fn a_table_that_was_saved_and_loaded_again_is_not_in_the_way() {
    let _alone = alone();
    let node = Namespace::new();
    node.program("nft", "add table inet bowline").unwrap();
    let closed = node.run(|| Closed::new(&order())).unwrap();
    assert!(node.program("nft", "list table inet bowline").unwrap().contains("flags owner"));
    drop(closed);
    // On a node without an issuer there is nothing to close for itself.
    let _closed = node.run(|| Closed::new(&GuardOrder { here: Vec::new(), ..order() })).unwrap();
    let text = node.program("nft", "list table inet bowline").unwrap();
    assert!(text.contains("chain forward") && !text.contains("chain input"), "{text}");
}

#[test]
fn replies_to_that_port_are_let_through() {
    let _alone = alone();
    let Site { node, pod, machine, .. } = &site();
    let order = GuardOrder { elsewhere: vec![7472], ..order() };
    let _closed = node.run(move || Closed::new(&order)).unwrap();
    // A machine that masquerades may choose any port to call from.
    let called = machine.run(|| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::new(10, 0, 1, 20, 7472)).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        connect(stream.as_raw_fd(), &SockaddrIn::new(10, 42, 0, 5, 7471))
    });
    assert_eq!(called, Ok(()));
    assert!(pod.misses("10.0.1.20:7472"));
}
