//! Cases on really booted machines. They are one program, so that all of them share the slots that `--test-threads` gives.

mod cloud_init;
mod clouds;
mod cluster;
mod clusters;
mod conformance;
mod crashes;
mod doctor;
mod downloads;
mod first_boot;
mod gate;
mod guard;
mod host_faults;
mod managed;
mod museum;
mod network;
mod only_claimed;
mod package;
mod refused_volumes;
mod sandbox;
mod scraped;
mod secrets;
mod settings;
mod virtual_machines;
mod volume_care;
mod volume_repair;
mod volumes;
