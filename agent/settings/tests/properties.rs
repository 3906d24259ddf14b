//! Whatever is in the files: no panic, no secret, and the order of names decides.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end so")]

use crate::common::file;
use bowline_settings::{SourceFile, load};
use proptest::prelude::*;

/// Good and bad pieces that files are put together from. No secret is the value of a label (`!`): one that is is shown, and may be.
const PIECES: &[&str] = &[
    "[cluster]\n",
    "[cluster.config]\n",
    "[node]\n",
    "[node.labels]\n",
    "[[volume]]\n",
    "[metrics]\n",
    "[enroll]\n",
    "[[enroll.allow]]\n",
    "role = \"agent\"\n",
    "servers = [\"10.0.1.10\"]\n",
    "ticket = \"hunter2!\"\n",
    "ticket = '''\nhunter2\n'''\n",
    "key-file = \"hunter2 7840e4e008cb2e1bc109fff29791ad0f7a7a6cd5\"\n",
    "init = true\n",
    "datastore = \"etcd\"\n",
    "nodes = \"kafka-*\"\n",
    "from = \"10.0.1.0/24\"\n",
    "grant = { a = \"b\" }\n",
    "taints = [\"a:NoSchedule\"]\n",
    "[log]\n",
    "distribution = \"k3s\"\n",
    "version = \"v1.34.1+k3s1\"\n",
    "role = \"server\"\n",
    "mirror = \"http://x\"\n",
    "token = \"hunter2!\"\n",
    "token = \"\"\"\nhunter2 -\n",
    "\"token+\" = [\"hunter2\"]\n",
    "tokne = 'hunter2!'\n",
    "disable = [\"a\"]\n",
    "\"disable+\" = [\"b\"]\n",
    "node-ip = 5\n",
    "name = \"data\"\n",
    "name = \"two\"\n",
    "device = \"/dev/sdb\"\n",
    "serial = \"A\"\n",
    "mount = \"/mnt/a\"\n",
    "mount = \"/etc\"\n",
    "options = [\"ro\"]\n",
    "gate = 1\n",
    "format = \"blank-only\"\n",
    "address = \"10.0.1.0/24\"\n",
    "address = \"::/0\"\n",
    "pool = \"x\"\n",
    "listen = [\"{address}:1\"]\n",
    "allow = [\"pods\"]\n",
    "level = \"info\"\n",
    "level = 9223372036854775808\n",
    "\"\" = 1\n",
    "a.b.c = 1979-05-27T07:32:00Z\n",
    "= \n",
    "[",
    "]",
    "{",
    "\"",
    "'''",
    "\\",
    "\u{feff}",
    "ü = \"ß\"\n",
    "\r\n",
    "# token hunter2\n",
    "x = [",
    "labels = { a = \"b\" }\n",
    "cluster = 3\n",
    "volume = [{ name = \"data\" }]\n",
    "volume = 1\n",
    "\u{0}",
    "\u{1b}[31m = 1\n",
    "v = 0x_\n",
    "log = { level = \"warn\" }\n",
    "\t",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![8 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => any::<String>().prop_map(|text| format!("\n{text}\n"))],
        0..24,
    )
    .prop_map(|pieces| pieces.concat())
}

fn check(files: &[SourceFile]) {
    let shown = match load(files) {
        Ok(loaded) => format!("{loaded:?} {}", serde_json::to_string(&loaded).unwrap()),
        Err(errors) => {
            assert!(!errors.is_empty());
            let text = errors.to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
            for error in &errors {
                assert!(error.place.line >= 1 && error.place.column >= 1);
            }
            format!("{text} {errors:?} {}", serde_json::to_string(&errors).unwrap())
        }
    };
    assert!(!shown.contains("hunter2"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_odd(one in text(), two in text(), mode in prop::sample::select(vec![0o600, 0o644])) {
        let mut files = [file("10-a.toml", &one), file("20-b.toml", &two)];
        files[0].mode = mode;
        check(&files);
    }

    #[test]
    fn a_changed_byte_is_no_panic(at in 0usize..4000, letter in any::<char>(), cut in 0usize..5) {
        let reference = include_str!("../../../config/reference.toml");
        let mut letters: Vec<char> = reference.chars().collect();
        let at = at % letters.len();
        let end = (at + cut).min(letters.len());
        letters.splice(at..end, [letter]);
        check(&[file("10-a.toml", &letters.into_iter().collect::<String>())]);
    }

    #[test]
    fn only_names_decide_the_order(texts in prop::collection::vec(text(), 1..4), turn in 0usize..4) {
        let files: Vec<SourceFile> =
            texts.iter().enumerate().map(|(index, text)| file(&format!("{index}0.toml"), text)).collect();
        let mut turned = files.clone();
        turned.rotate_left(turn % files.len());
        prop_assert_eq!(load(&files), load(&turned));
    }
}
