//! The control groups of a machine: where the host keeps them, and how a process gets into them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// How the host arranges its control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// cgroup v2 only.
    Unified {
        /// Whether systemd runs the host and hands out groups as scopes.
        systemd: bool,
    },
    /// v1 controllers, and a v2 hierarchy beside them in which systemd follows its units.
    Hybrid {
        /// Our own group in every hierarchy, where the groups of machines are made.
        parents: Vec<PathBuf>,
    },
}

impl Layout {
    /// What this host has.
    pub(crate) fn detect() -> Result<Layout> {
        let systemd = Path::new("/run/systemd/system").is_dir();
        Layout::from_texts(
            &fs::read_to_string("/proc/self/mountinfo")?,
            &fs::read_to_string("/proc/self/cgroup")?,
            systemd,
        )
    }

    fn from_texts(mountinfo: &str, own: &str, systemd: bool) -> Result<Layout> {
        let mut parents = Vec::new();
        let mut v2 = false;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
            let mut left = left.split(' ').skip(3);
            let (root, at) = (left.next().unwrap_or("/"), left.next().unwrap_or(""));
            let own_path = match kind {
                "cgroup2" if at == "/sys/fs/cgroup" => return Ok(Layout::Unified { systemd }),
                "cgroup2" => {
                    v2 = true;
                    own_group(own, "")
                }
                "cgroup" => options.split(',').find_map(|option| own_group(own, option)),
                _ => continue,
            };
            let below = own_path.unwrap_or("/");
            let below = below.strip_prefix(root).unwrap_or(below).trim_start_matches('/');
            parents.push(Path::new(at).join(below));
        }
        if !v2 {
            bail!("the host has no cgroup v2 hierarchy: neither /sys/fs/cgroup nor /sys/fs/cgroup/unified");
        }
        parents.sort();
        parents.dedup();
        Ok(Layout::Hybrid { parents })
    }
}

/// Our path in the hierarchy of a v1 controller (or of v2, whose name is empty), from the text of `/proc/self/cgroup`.
fn own_group<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        (controllers.split(',').any(|c| c == controller)).then_some(path)
    })
}

/// The control groups of one machine.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    /// The machine's group in every hierarchy.
    pub(crate) dirs: Vec<PathBuf>,
    /// The words before the command that put it into a scope, where systemd runs the host.
    pub(crate) prefix: Vec<String>,
}

impl Groups {
    /// Makes the groups `name`. `record` is told each folder before it exists, so that nobody has to guess later.
    pub(crate) fn create(layout: &Layout, name: &str, mut record: impl FnMut(&Path) -> Result<()>) -> Result<Groups> {
        let parents = match layout {
            Layout::Unified { systemd: true } => return Groups::scope(name, record),
            Layout::Unified { systemd: false } => vec![PathBuf::from("/sys/fs/cgroup")],
            Layout::Hybrid { parents } => parents.clone(),
        };
        let mut dirs = Vec::new();
        for parent in parents {
            let dir = parent.join(name);
            record(&dir)?;
            fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if dir.join("cpuset.sched_load_balance").exists() {
                    fs::write(dir.join(file), fs::read(parent.join(file))?)?;
                }
            }
            if dir.join("devices.deny").exists() {
                deny_disks(&dir)?;
            }
            dirs.push(dir);
        }
        Ok(Groups { dirs, prefix: Vec::new() })
    }

    /// systemd owns the tree: a scope of its own is delegated, which may use loop devices and no other disk.
    fn scope(name: &str, mut record: impl FnMut(&Path) -> Result<()>) -> Result<Groups> {
        let dir = PathBuf::from(format!("/sys/fs/cgroup/bowline.slice/{name}.scope"));
        record(&dir)?;
        let mut prefix =
            ["systemd-run", "--quiet", "--scope", "--collect", "--slice=bowline.slice"].map(String::from).to_vec();
        prefix.push(format!("--unit={name}"));
        for property in ["Delegate=yes", "DevicePolicy=closed", "DeviceAllow=block-loop rwm", "DeviceAllow=char-* rwm"]
        {
            prefix.push(format!("--property={property}"));
        }
        Ok(Groups { dirs: vec![dir], prefix })
    }

    /// Where a command goes that is run in the machine from outside: with the payload where v2 has no controllers, beside it where it has.
    pub(crate) fn for_commands(&self) -> Vec<PathBuf> {
        let mut dirs = Vec::new();
        for dir in &self.dirs {
            if dir.join("cgroup.controllers").exists() {
                if dir.starts_with("/sys/fs/cgroup/unified") {
                    dirs.push(dir.join("payload"));
                } else if fs::create_dir_all(dir.join("commands")).is_ok() {
                    dirs.push(dir.join("commands"));
                }
            } else {
                dirs.push(dir.clone());
            }
        }
        dirs
    }

    /// Takes the groups away again; their processes have ended.
    pub(crate) fn remove(&self) {
        fn remove(dir: &Path) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove(&entry.path());
                }
            }
            // What is still busy is left to the keeper, who tries again.
            fs::remove_dir(dir).ok();
        }
        self.dirs.iter().for_each(|dir| remove(dir));
    }
}

/// Forbids reading and writing every disk of the host but loop devices, of which a machine has nodes for its own only.
/// Stricter breaks what must work: a list of what is allowed makes privileged pods fail (runc allows them "a"), forbidding
/// mknod makes all pods fail (they may do it anywhere), forbidding single loop devices makes `DeviceAllow=block-loop` fail.
fn deny_disks(dir: &Path) -> Result<()> {
    const LOOP: u64 = 7;
    let devices = fs::read_to_string("/proc/devices")?;
    let majors = devices.split("Block devices:").nth(1).unwrap_or("");
    let majors = majors.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    for major in majors.filter(|major| *major != LOOP) {
        fs::write(dir.join("devices.deny"), format!("b {major}:* rw"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_v2_host_is_unified() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::from_texts(mounts, "0::/user.slice\n", true).unwrap(), Layout::Unified { systemd: true });
    }

    #[test]
    fn a_hybrid_host_has_our_own_group_in_every_hierarchy() {
        let mounts = "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      2 0 0:2 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                      3 0 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/\n4:memory:/some/group\n0::/\n";
        let Layout::Hybrid { parents } = Layout::from_texts(mounts, own, false).unwrap() else { panic!("hybrid") };
        let expected = ["/sys/fs/cgroup/memory/some/group", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
        assert_eq!(parents, expected.map(PathBuf::from));
    }

    #[test]
    fn a_host_without_v2_is_refused() {
        assert!(
            Layout::from_texts("1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "4:memory:/\n", false)
                .is_err()
        );
    }
}
