//! What the firmware calls a machine: by that a copy of its disk is known as another one's.

use crate::{ErrorKind, Inspect, PortError};
use std::path::Path;

/// What tells one machine from another, also when its disk is copied. An update of the firmware may change one of them, or blank it.
const FIRMWARE: [(Kind, &str); 2] =
    [(Kind::Uuid, "/sys/class/dmi/id/product_uuid"), (Kind::Serial, "/sys/class/dmi/id/product_serial")];

/// What makers leave in the place of a serial number: many machines have the same.
const NO_SERIAL: [&str; 10] = [
    "to be filled by o.e.m.",
    "default string",
    "system serial number",
    "not specified",
    "not applicable",
    "none",
    "n/a",
    "0123456789",
    "123456789",
    "1234567890",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uuid,
    Serial,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Serial => "serial",
        }
    }
}

/// All that the firmware says, in lower case.
async fn said(host: &dyn Inspect) -> Result<Vec<(Kind, String)>, PortError> {
    let mut all = Vec::new();
    for (kind, path) in FIRMWARE {
        let text = match host.read(Path::new(path)).await {
            Ok(file) => file.map(|file| file.text().trim().to_lowercase()),
            // Containers see their host's, and not all of it.
            Err(error) if error.kind == ErrorKind::Denied => None,
            Err(error) => return Err(error),
        };
        all.extend(text.filter(|text| !text.is_empty()).map(|text| (kind, text)));
    }
    Ok(all)
}

/// What tells this machine from every other one, its clones too: the first that the firmware says, in lower case; `None` where it
/// says nothing.
///
/// # Errors
/// It cannot be read.
pub async fn machine_id(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    Ok(said(host).await?.into_iter().next().map(|(_, value)| value))
}

/// All of it, each in a line with its kind: what is noted beside a record of this machine, for [`is_anothers`]. `None` where the
/// firmware says nothing.
///
/// # Errors
/// It cannot be read.
pub async fn machine_note(host: &dyn Inspect) -> Result<Option<String>, PortError> {
    let lines: Vec<String> =
        said(host).await?.into_iter().map(|(kind, value)| format!("{} {value}", kind.word())).collect();
    Ok(Some(lines.join("\n")).filter(|note| !note.is_empty()))
}

/// Whether what was noted beside a record of the machine that made it ([`machine_note`]) says that it is another one's: something
/// that the firmware told then and tells now is another, and nothing is the same. An update may change one of the two, or hide it.
///
/// # Errors
/// It cannot be read.
pub async fn is_anothers(host: &dyn Inspect, note: &str) -> Result<bool, PortError> {
    Ok(!note.trim().is_empty() && differs(note, &said(host).await?))
}

fn differs(note: &str, own: &[(Kind, String)]) -> bool {
    let noted: Vec<(Kind, &str)> = note.lines().filter_map(|line| parsed(line.trim())).collect();
    let pair = |is: &dyn Fn(Kind, &str, Kind, &str) -> bool| {
        own.iter().any(|(kind, value)| noted.iter().any(|(k, v)| is(*kind, value, *k, v)))
    };
    let same = pair(&|kind, value, _, v| value == v && !says_nothing(kind, value));
    let other = pair(&|kind, value, k, v| kind == k && value != v && !says_nothing(kind, value) && !says_nothing(k, v));
    other && !same
}

/// A line of a note. Earlier builds noted one of the two, without its kind; the kernel writes every UUID in the same form.
fn parsed(line: &str) -> Option<(Kind, &str)> {
    for (kind, _) in FIRMWARE {
        if let Some(value) = line.strip_prefix(kind.word()).and_then(|rest| rest.strip_prefix(' ')) {
            return Some((kind, value));
        }
    }
    Some((if is_uuid(line) { Kind::Uuid } else { Kind::Serial }, line)).filter(|_| !line.is_empty())
}

fn is_uuid(text: &str) -> bool {
    let hyphens =
        |(at, byte): (usize, u8)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(hyphens)
}

/// Whether it is no serial number, but what stands there where none was given.
fn says_nothing(kind: Kind, value: &str) -> bool {
    let one_sign = value.bytes().all(|byte| Some(byte) == value.bytes().next());
    kind == Kind::Serial && (one_sign || NO_SERIAL.contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const U1: &str = "aaaaaaaa-0b2f-4f0e-9d3c-1f4b7c6a8d90";
    const U2: &str = "bbbbbbbb-0b2f-4f0e-9d3c-1f4b7c6a8d90";

    /// Beside a note, by the UUID and the serial number that the firmware tells now.
    fn other(note: &str, uuid: &str, serial: &str) -> bool {
        let own = [(Kind::Uuid, uuid), (Kind::Serial, serial)];
        let own: Vec<_> = own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k, v.into())).collect();
        differs(note, &own)
    }

    #[test]
    fn it_is_another_machine_where_something_differs_and_nothing_is_the_same() {
        let note = format!("uuid {U1}\nserial s-1\n");
        assert!(!other(&note, U1, "s-1") && other(&note, U2, "s-2") && other(&note, U2, "") && other(&note, "", "s-2"));
        // An update: the UUID is hidden, another one, or the serial number is.
        assert!(
            !other(&note, "", "s-1") && !other(&note, U2, "s-1") && !other(&note, U1, "s-2") && !other(&note, "", "")
        );
        // What cannot be compared says nothing.
        assert!(!other(&format!("uuid {U1}"), "", "s-1") && !other("serial s-1", U1, "") && !other("", U1, "s-1"));
    }

    #[test]
    fn a_note_of_an_earlier_build_is_of_either_kind() {
        assert!(!other(U1, U1, "s-1") && other(U1, U2, "s-1") && other(U1, U2, "") && !other(U1, "", "s-1"));
        assert!(!other("s-1", U1, "s-1") && other("s-1", U1, "s-2") && !other("s-1", U1, ""));
        // Where both are the same, as at Amazon.
        assert!(!other(U1, "", U1));
    }

    #[test]
    fn what_stands_in_the_place_of_a_serial_number_is_none() {
        for none in ["to be filled by o.e.m.", "default string", "0000000", "0"] {
            assert!(other(&format!("uuid {U1}\nserial {none}"), U2, none), "{none}");
            assert!(!other(&format!("uuid {U1}\nserial {none}"), "", "s-1"), "{none}");
            assert!(!other(none, "", "s-1"), "{none}");
        }
    }
}
