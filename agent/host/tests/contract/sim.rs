//! The simulated host, under the same cases.

use crate::suite::{Fixture, contract};
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
        self.again(device, "raw", None);
    }

    fn make_filesystem(&self, device: &Path, filesystem: Filesystem, uuid: &str) {
        self.again(device, filesystem.name(), Some(uuid));
    }

    fn mount(&self, device: &Path, at: &Path) {
        self.host.mount(device, at);
    }

    fn release(&self) -> (String, Vec<u8>) {
        let url = "https://releases.example/v1.34.1%2Bk3s1/k3s".to_owned();
        (url, b"k3s v1.34.1+k3s1".to_vec())
    }

    fn systemd(&self) -> bool {
        true
    }

    fn metadata(&self, answers: &[(&str, &str)]) {
        let answers = answers.iter().map(|(path, body)| (path.to_string(), body.to_string())).collect();
        self.host.change_cloud(|cloud| *cloud = Some(WorldCloud { answers, ..WorldCloud::default() }));
    }
}

impl Sim {
    fn again(&self, device: &Path, content: &str, uuid: Option<&str>) {
        let name = device.to_string_lossy();
        let number = name.bytes().next_back().unwrap() - b'b';
        self.attach(WorldDisk {
            size: 400 << 20,
            content: content.into(),
            uuid: uuid.map(str::to_owned),
            ..WorldDisk::volume(&name, &format!("1000{number}"))
        });
    }
}

contract! { Sim::new();
    a_written_file_is_read_back_whole,
    what_is_not_there_is_none,
    names_are_listed_in_order,
    removing_twice_is_fine,
    renaming_replaces_and_sets_the_mode,
    a_link_never_replaces_anything,
    a_hash_follows_its_file,
    the_machine_tells_about_itself,
    a_blank_disk_is_listed_unused_and_proven_blank,
    every_filesystem_is_made_as_ordered,
    what_was_made_is_never_made_again,
    another_device_than_ordered_is_refused,
    somebody_elses_filesystem_is_refused,
    bytes_without_a_signature_are_refused_unless_they_are_ours,
    a_device_that_is_gone_is_an_error,
    a_unit_that_is_not_there,
    a_job_that_nobody_started,
    a_release_is_fetched_verified,
    without_a_metadata_service_there_is_an_error,
    a_metadata_service_answers_in_order_and_is_not_asked_again_at_once,
    a_filesystem_is_made_ready_on_its_own_device_only,
    directories_are_made_on_the_volume_and_nowhere_else,
    only_what_was_meant_is_unmounted,
    a_unit_is_written_before_and_after_systemd_has_read_it,
}
