//! Cases on really booted machines. They are one program, so that all of them share the slots that `--test-threads` gives.

mod agents;
mod cloud_init;
mod cluster;
mod conformance;
mod crashes;
mod doctor;
mod downloads;
mod first_boot;
mod gate;
mod guard;
mod host_faults;
mod network;
mod only_claimed;
mod package;
mod refused_volumes;
mod sandbox;
mod secrets;
mod servers;
mod settings;
mod volumes;
