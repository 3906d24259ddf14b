//! The simulated host, under the same cases.

use crate::every_case;
use crate::suite::Fixture;
use bowline_host::sim::{SimHost, World, WorldCloud, WorldDisk};
use bowline_ports::{Change, Filesystem};
use std::cell::Cell;
use std::path::{Path, PathBuf};

struct Sim {
    host: SimHost,
    disks: Cell<u32>,
}

impl Sim {
    fn new() -> Self {
        Self { host: SimHost::new(&World::default()), disks: Cell::new(0) }
    }

    fn attach(&self, disk: WorldDisk) {
        self.host.attach(&disk);
    }
}

impl Fixture for Sim {
    fn host(&self) -> &dyn Change {
        &self.host
    }

    fn directory(&self) -> &Path {
        Path::new("/srv/contract")
    }

    fn make_disk(&self, size: u64) -> PathBuf {
        let number = self.disks.get();
        self.disks.set(number + 1);
        let path = format!("/dev/sd{}", char::from(b'b' + u8::try_from(number).unwrap()));
        self.attach(WorldDisk { size, ..WorldDisk::volume(&path, &format!("1000{number}")) });
        path.into()
    }

    fn scribble(&self, device: &Path) {
        self.again(device, |disk| disk.content = "raw".into());
    }

    fn make_filesystem(&self, device: &Path, filesystem: Filesystem, uuid: &str) {
        self.again(device, |disk| (disk.content, disk.uuid) = (filesystem.name().into(), Some(uuid.into())));
    }

    fn make_filesystem_of(&self, device: &Path, filesystem: Filesystem, uuid: &str, size: u64) {
        self.again(device, |disk| {
            (disk.content, disk.uuid) = (filesystem.name().into(), Some(uuid.into()));
            disk.extent = Some(size);
        });
    }

    fn make_too_large(&self, device: &Path) {
        self.again(device, |disk| (disk.content, disk.extent) = ("ext4".into(), Some(disk.size * 2)));
    }

    fn damage(&self, device: &Path) {
        self.again(device, |disk| {
            (disk.content, disk.uuid) = ("ext4".into(), Some(crate::suite::STRANGER.into()));
            disk.disorder = "light".into();
        });
    }

    fn hold(&self, _: &Path) -> Option<std::fs::File> {
        None
    }

    fn mount(&self, device: &Path, at: &Path) {
        self.host.mount(device, at);
    }

    fn bind(&self, from: &Path, at: &Path) {
        self.host.bind(from, at);
    }

    fn release(&self) -> (String, Vec<u8>) {
        let url = "https://releases.example/v1.34.1%2Bk3s1/k3s".to_owned();
        (url, b"k3s v1.34.1+k3s1".to_vec())
    }

    fn systemd(&self) -> bool {
        true
    }

    fn grows(&self) -> bool {
        true
    }

    fn metadata(&self, answers: &[(&str, &str)]) {
        let answers = answers.iter().map(|(path, body)| (path.to_string(), body.to_string())).collect();
        self.host.change_cloud(|cloud| *cloud = Some(WorldCloud { answers, ..WorldCloud::default() }));
    }
}

impl Sim {
    /// The disk, with something else on it.
    fn again(&self, device: &Path, change: impl FnOnce(&mut WorldDisk)) {
        let there = self.host.device(device).unwrap();
        let serial = there.id.serial.unwrap();
        let mut disk = WorldDisk { size: there.id.size, ..WorldDisk::volume(&device.to_string_lossy(), &serial) };
        change(&mut disk);
        self.attach(disk);
    }
}

every_case!(Sim::new());
