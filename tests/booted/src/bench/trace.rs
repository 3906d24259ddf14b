//! Reads what strace wrote of the daemon: did it write to a file, change a name, or ask systemd for a change?

use serde::Serialize;
use std::collections::BTreeMap;

/// The system calls that are traced: everything that writes, makes, renames or removes, and what starts a program.
pub(crate) const CALLS: &[&str] = &[
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "sendfile",
    "splice",
    "copy_file_range",
    "open",
    "openat",
    "openat2",
    "creat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "mknod",
    "mknodat",
    "truncate",
    "ftruncate",
    "fallocate",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utimensat",
    "setxattr",
    "fsetxattr",
    "lsetxattr",
    "removexattr",
    "mount",
    "umount2",
    "io_uring_setup",
    "execve",
];
/// Bytes through one of these count when they reach a file.
const WRITES: &[&str] =
    &["write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "splice", "copy_file_range"];
const SAMPLES: &str = "/var/lib/bowline/samples>";
const SENDS: &[&str] = &["write", "writev", "sendto", "sendmsg", "sendmmsg"];
const OPENS: &[&str] = &["open", "openat", "openat2", "creat"];
/// Methods on the bus that change nothing.
const READING: &[&str] = &[
    "AddMatch",
    "RemoveMatch",
    "Hello",
    "Subscribe",
    "Get",
    "GetAll",
    "GetNameOwner",
    "NameHasOwner",
    "GetUnit",
    "LoadUnit",
    "ListUnitsByPatterns",
    "Ping",
    "GetUnitFileState",
    "Introspect",
];

/// What was seen.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// Lines of the trace.
    pub(crate) lines: usize,
    /// Bytes written to files.
    pub(crate) bytes: u64,
    /// Samples of how full filesystems are, written each minute into a file that is there for them: no part of the bytes.
    pub(crate) samples: usize,
    /// Files made, renamed, removed or opened to be emptied, with the call.
    pub(crate) changes: Vec<String>,
    /// Calls on the bus that change something.
    pub(crate) bus_changes: Vec<String>,
    /// Calls on the bus that only ask, and how often.
    pub(crate) bus_questions: BTreeMap<String, usize>,
    /// Lines sent to the journal.
    pub(crate) journal: Vec<String>,
    /// Programs started.
    pub(crate) programs: Vec<String>,
}

impl Seen {
    /// 0 when nothing was written and nothing touched.
    pub(crate) fn total(&self) -> u64 {
        self.bytes + (self.changes.len() + self.bus_changes.len()) as u64
    }
}

/// Reads a trace made with `-f -y -o`.
pub(crate) fn read(text: &str) -> Seen {
    let mut seen = Seen::default();
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    for line in text.lines() {
        seen.lines += 1;
        let Some((pid, call)) = line.split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, begun.to_string());
        } else if let Some((_, end)) = call.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let begun = unfinished.remove(pid).unwrap_or_default();
            seen.call(&format!("{begun}{end}"));
        } else {
            seen.call(call);
        }
    }
    seen
}

impl Seen {
    fn call(&mut self, call: &str) {
        let Some((name, rest)) = call.split_once('(') else { return };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { return };
        let result = result.split([' ', '<']).next().unwrap_or_default();
        // A call that failed changed nothing. What cannot be read counts as one that did something.
        if result.starts_with('-') {
            return;
        }
        if WRITES.contains(&name) && target(name, arguments).is_some_and(|file| file.contains(SAMPLES)) {
            self.samples += 1;
        } else if WRITES.contains(&name) && target(name, arguments).is_some_and(is_file) {
            self.bytes += result.parse().unwrap_or(1);
            self.changes.push(shown(call));
        } else if SENDS.contains(&name) {
            self.sent(arguments);
        } else if OPENS.contains(&name) {
            if name == "creat" || ["O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag)) {
                self.changes.push(shown(call));
            }
        } else if name == "execve" {
            self.programs.push(shown(call));
        } else if !WRITES.contains(&name) {
            self.changes.push(shown(call));
        }
    }

    fn sent(&mut self, arguments: &str) {
        let bytes = strings(arguments);
        for method in methods(&bytes) {
            if READING.contains(&method.as_str()) {
                *self.bus_questions.entry(method).or_default() += 1;
            } else {
                self.bus_changes.push(method);
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("SYSLOG_IDENTIFIER") {
            self.journal.push(text.chars().filter(|c| !c.is_control() || *c == '\n').collect());
        }
    }
}

/// The start of a call.
fn shown(call: &str) -> String {
    call.chars().take(200).collect()
}

/// The path or kind that `-y` put behind the descriptor that is written to.
fn target<'a>(name: &str, arguments: &'a str) -> Option<&'a str> {
    let position = match name {
        "splice" | "copy_file_range" => 2,
        _ => 0,
    };
    let descriptor = arguments.split(", ").nth(position)?;
    Some(descriptor.split_once('<')?.1)
}

fn is_file(target: &str) -> bool {
    target.starts_with('/') && !target.starts_with("/dev/null") && !target.starts_with("/memfd:")
}

/// The bytes of all quoted strings, in their order.
fn strings(arguments: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = arguments.bytes().peekable();
    let mut quoted = false;
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => match rest.next() {
                Some(b'n') => bytes.push(b'\n'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'r') => bytes.push(b'\r'),
                Some(b'v') => bytes.push(11),
                Some(b'f') => bytes.push(12),
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        match rest.peek() {
                            Some(digit @ b'0'..=b'7') => value = value * 8 + u32::from(digit - b'0'),
                            _ => break,
                        }
                        rest.next();
                    }
                    bytes.push(u8::try_from(value & 0xff).unwrap_or_default());
                }
                Some(other) => bytes.push(other),
                None => {}
            },
            other if quoted => bytes.push(other),
            _ => {}
        }
    }
    bytes
}

/// The members of the method calls of the D-Bus in these bytes: `l`, type 1, and the header field 3, a string.
fn methods(bytes: &[u8]) -> Vec<String> {
    const MEMBER: &[u8] = &[3, 1, b's', 0];
    let mut found = Vec::new();
    if bytes.first() != Some(&b'l') || bytes.get(1) != Some(&1) {
        return found;
    }
    for (at, window) in bytes.windows(MEMBER.len() + 4).enumerate() {
        let Some(length) = window.strip_prefix(MEMBER).and_then(|l| <[u8; 4]>::try_from(l).ok()) else { continue };
        let begin = at + MEMBER.len() + 4;
        let length = u32::from_le_bytes(length) as usize;
        let name = begin.checked_add(length).and_then(|end| bytes.get(begin..end));
        if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()).filter(|name| !name.is_empty()) {
            found.push(name.to_string());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"sendmsg(9<socket:[1]>, {msg_name=NULL, msg_iov=[{iov_base="l\1\0\1\22\0\0\0\7\0\0\0\230\0\0\0\1\1o\0\31\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\3\1s\0\10\0\0\0LoadUnit\0\0\0\0\0\0\0\0", iov_len=186}], msg_iovlen=1}, 0) = 186"#;

    #[test]
    fn sockets_and_failures_are_no_writes() {
        let trace = format!(
            "7 write(4<anon_inode:[eventfd]>, \"\\1\\0\", 8) = 8\n\
             7 write(4<pipe:[77]>, \"x\", 1) = 1\n\
             7 {CALL}\n\
             8 openat(AT_FDCWD</>, \"/etc/x\", O_RDONLY|O_CLOEXEC) = 5</etc/x>\n\
             8 unlink(\"/gone\") = -1 ENOENT (No such file or directory)\n"
        );
        let seen = read(&trace);
        assert_eq!(seen.total(), 0, "{seen:?}");
        assert_eq!((seen.lines, seen.bus_questions["LoadUnit"]), (5, 1));
    }

    #[test]
    fn files_names_and_units_are() {
        let trace = format!(
            "7 openat(AT_FDCWD</>, \"/run/x\", O_WRONLY|O_CREAT|O_EXCL, 0644) = 5</run/x>\n\
             7 write(5</run/x>, \"abc\", 3 <unfinished ...>\n\
             8 rename(\"/run/x\", \"/run/y\") = 0\n\
             7 <... write resumed>) = 3\n\
             7 {}\n",
            CALL.replace(r"\10\0\0\0LoadUnit", r"\11\0\0\0StartUnit")
        );
        let seen = read(&trace);
        assert_eq!(seen.bytes, 3);
        assert_eq!(seen.changes.len(), 3, "{seen:?}");
        assert_eq!(seen.bus_changes, ["StartUnit"]);
        assert_eq!(seen.total(), 7);
    }

    #[test]
    fn lines_for_the_journal_and_programs_are_told() {
        let seen = read(
            "7 sendto(6<socket:[9]>, \"PRIORITY=6\\nSYSLOG_IDENTIFIER=bowline\\nMESSAGE=x\\n\", 44, 0, NULL, 0) = 44\n\
             9 execve(\"/usr/sbin/blkid\", [\"blkid\"], 0x7f /* 2 vars */) = 0\n",
        );
        assert!(seen.journal[0].contains("MESSAGE=x"));
        assert!(seen.programs[0].contains("/usr/sbin/blkid"));
        assert_eq!(seen.total(), 0);
    }
}
