//! Files and directories.

use super::{Fixture, SIZE, fresh_uuid};
use bowline_ports::{ErrorKind, FileKind, Filesystem};

pub(crate) async fn a_written_file_is_read_back_whole(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory().join("a/b"));
    let path = directory.join("file.conf");
    host.write(&path, b"one", 0o600).await.unwrap();
    let file = host.read(&path).await.unwrap().unwrap();
    assert_eq!((file.content.as_slice(), file.mode, file.uid), (b"one".as_slice(), 0o600, 0));
    host.write(&path, b"two", 0o644).await.unwrap();
    let file = host.read(&path).await.unwrap().unwrap();
    assert_eq!((file.text().as_str(), file.mode), ("two", 0o644));
    assert_eq!(host.list(&directory).await.unwrap().unwrap(), ["file.conf"], "nothing is left beside it");
    let meta = host.meta(&path).await.unwrap().unwrap();
    assert_eq!((meta.kind, meta.mode, meta.size), (FileKind::File, 0o644, 3));
    let made = host.meta(&directory).await.unwrap().unwrap();
    assert_eq!((made.kind, made.mode), (FileKind::Directory, 0o755));
}

pub(crate) async fn what_is_not_there_is_none(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory());
    host.write(&directory.join("file"), b"", 0o644).await.unwrap();
    for path in [directory.join("missing"), directory.join("missing/below"), directory.join("file/below")] {
        assert_eq!(host.read(&path).await.unwrap(), None, "{}", path.display());
        assert_eq!(host.meta(&path).await.unwrap(), None, "{}", path.display());
        assert_eq!(host.list(&path).await.unwrap(), None, "{}", path.display());
        assert_eq!(host.sha256(&path).await.unwrap(), None, "{}", path.display());
    }
    assert_eq!(host.list(&directory.join("file")).await.unwrap(), None, "a file is no directory");
    assert_eq!(host.read(directory).await.unwrap_err().kind, ErrorKind::Invalid, "nor is a directory a file");
    assert_eq!(host.k3s_version(&directory.join("k3s")).await.unwrap(), None);
}

pub(crate) async fn names_are_listed_in_order(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory());
    for name in ["b", "a", "10-x", "9-x"] {
        host.write(&directory.join(name), b"", 0o644).await.unwrap();
    }
    assert_eq!(host.list(directory).await.unwrap().unwrap(), ["10-x", "9-x", "a", "b"]);
}

pub(crate) async fn removing_twice_is_fine(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.directory().join("file"));
    host.write(&path, b"", 0o644).await.unwrap();
    host.remove(&path).await.unwrap();
    host.remove(&path).await.unwrap();
    assert_eq!(host.meta(&path).await.unwrap(), None);
}

pub(crate) async fn renaming_replaces_and_sets_the_mode(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory());
    let (from, to) = (directory.join("new"), directory.join("k3s"));
    host.write(&from, b"new", 0o600).await.unwrap();
    host.write(&to, b"old", 0o755).await.unwrap();
    host.rename(&from, &to, 0o755).await.unwrap();
    let file = host.read(&to).await.unwrap().unwrap();
    assert_eq!((file.text().as_str(), file.mode), ("new", 0o755));
    assert_eq!(host.meta(&from).await.unwrap(), None);
    let error = host.rename(&from, &to, 0o755).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert_eq!(host.read(&to).await.unwrap().unwrap().text(), "new");
}

pub(crate) async fn a_link_never_replaces_anything(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory());
    let (target, link, file) = (directory.join("k3s"), directory.join("kubectl"), directory.join("file"));
    host.write(&file, b"somebody's", 0o644).await.unwrap();
    host.link(&target, &link).await.unwrap();
    host.link(&target, &link).await.unwrap();
    let error = host.link(&target, &file).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed, "{error}");
    assert_eq!(host.read(&file).await.unwrap().unwrap().text(), "somebody's");
}

pub(crate) async fn a_hash_follows_its_file(fixture: &impl Fixture) {
    let (host, path) = (fixture.host(), fixture.directory().join("file"));
    host.write(&path, b"", 0o644).await.unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(host.sha256(&path).await.unwrap().as_deref(), Some(empty));
    host.write(&path, b"abc", 0o644).await.unwrap();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(host.sha256(&path).await.unwrap().as_deref(), Some(abc));
    assert_eq!(host.sha256(&path).await.unwrap().as_deref(), Some(abc));
}

pub(crate) async fn a_link_leads_to_a_real_path(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory());
    let (file, link) = (directory.join("real/a/file"), directory.join("link"));
    host.write(&file, b"", 0o644).await.unwrap();
    host.link(&directory.join("real"), &link).await.unwrap();
    let real = host.real_path(&file).await.unwrap().unwrap();
    assert!(real.ends_with("real/a/file"), "{}", real.display());
    assert_eq!(host.real_path(&link.join("a/file")).await.unwrap(), Some(real));
    assert_eq!(host.real_path(&link.join("b")).await.unwrap(), None);
    assert_eq!(host.real_path(&file.join("below")).await.unwrap(), None);
}

pub(crate) async fn what_lies_on_a_btrfs_behind_a_link_is_found_in_the_mount_table(fixture: &impl Fixture) {
    let (host, directory) = (fixture.host(), fixture.directory());
    let (disk, at, link) = (fixture.make_disk(SIZE), directory.join("mnt"), directory.join("log"));
    fixture.make_filesystem(&disk, Filesystem::Btrfs, &fresh_uuid());
    fixture.mount(&disk, &at);
    host.link(&at, &link).await.unwrap();
    // A file on it has another number than its mount: only the way there tells.
    let real = host.real_path(&link).await.unwrap().unwrap();
    let mounts = host.mounts().await.unwrap();
    let holds = mounts.iter().filter(|mount| real.starts_with(&mount.target));
    let one = holds.max_by_key(|mount| mount.target.components().count()).unwrap();
    assert_eq!((one.fstype.as_str(), &one.target), ("btrfs", &real));
}

pub(crate) async fn room_that_there_is_not_is_not_kept(fixture: &impl Fixture) {
    let (host, disk, at) = (fixture.host(), fixture.make_disk(SIZE), fixture.directory().join("small"));
    fixture.make_filesystem(&disk, Filesystem::Ext4, &fresh_uuid());
    fixture.mount(&disk, &at);
    let error = host.reserve(&at.join("reserve"), 1 << 40).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    assert_eq!(host.meta(&at.join("reserve")).await.unwrap(), None);
}
