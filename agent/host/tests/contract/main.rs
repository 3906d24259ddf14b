//! One suite, several hosts: what the ports promise holds on each of them, which keeps the simulated one honest.
//!
//! The real host needs root: it makes loop devices over files in a temporary directory, and formats and mounts
//! nothing else. Without root its cases fail and say so; without systemd as PID 1 those that need it show how that is told,
//! and the last case to end says how many they were. A booted machine has them all (`tests/booted`, `contract.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod real;
mod sim;
mod suite;

/// The cases, held by one host after the other.
macro_rules! every_case {
    ($fixture:expr) => {
        crate::suite::contract! { $fixture, [crate::suite];
            a_written_file_is_read_back_whole,
            what_is_not_there_is_none,
            names_are_listed_in_order,
            removing_twice_is_fine,
            renaming_replaces_and_sets_the_mode,
            a_link_never_replaces_anything,
            a_hash_follows_its_file,
            a_link_leads_to_a_real_path,
            what_lies_on_a_btrfs_behind_a_link_is_found_in_the_mount_table,
            room_that_there_is_not_is_not_kept,
            a_blank_disk_is_listed_unused_and_proven_blank,
            every_filesystem_is_made_as_ordered,
            what_was_made_is_never_made_again,
            another_device_than_ordered_is_refused,
            somebody_elses_filesystem_is_refused,
            bytes_without_a_signature_are_refused_unless_they_are_ours,
            work_goes_on_without_who_began_it_and_another_order_is_refused,
            a_device_that_is_gone_is_an_error,
            a_mounted_filesystem_grows_with_its_device,
            the_machine_tells_about_itself,
            a_unit_that_is_not_there,
            a_job_that_nobody_started,
            a_release_is_fetched_verified,
            without_a_metadata_service_there_is_an_error,
            a_metadata_service_answers_in_order_and_is_not_asked_again_at_once,
            a_filesystem_is_made_ready_on_its_own_device_only,
            a_bare_mount_point_is_made_unwritable_and_given_back,
            a_filesystem_in_disorder_is_refused_or_repaired_as_ordered,
            a_disk_smaller_than_its_filesystem_is_not_called_damaged,
            an_xfs_whose_uuid_is_mounted_is_not_called_damaged,
            directories_are_made_on_the_volume_and_nowhere_else,
            only_what_was_meant_is_unmounted,
            what_is_mounted_elsewhere_too_is_not_off_its_disk,
            a_unit_is_written_before_and_after_systemd_has_read_it,
            a_unit_is_enabled_by_a_link,
            a_mount_unit_mounts_what_it_says,
            what_somebody_mounts_is_a_unit,
            a_service_waits_at_its_gate,
        }
    };
}
pub(crate) use every_case;
