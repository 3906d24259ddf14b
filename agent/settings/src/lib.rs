//! Bowline's settings: TOML drop-ins become one validated value.
//!
//! The crate does no I/O. The host reads `/etc/bowline/config.d/*.toml` and hands
//! over the texts; [`load`] lays them over each other in name order and returns
//! the typed [`Settings`] with the origin of every value, or every problem found,
//! each with file, line, column, the offending line and a suggestion.
//!
//! No secret leaves it but by [`Secret::expose`].

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

mod access;
mod cluster;
mod complaint;
mod disk;
mod duration;
mod enroll;
mod error;
mod fact;
mod join;
mod k3s;
mod labels;
mod merge;
mod metrics;
mod model;
mod mounts;
mod net;
mod network;
mod node;
mod options;
mod origins;
mod pattern;
mod persistent;
mod pressure;
mod reader;
mod reclaim;
mod secret;
mod secret_text;
mod slip;
mod source;
mod suggest;
mod taint;
mod together;
mod tree;
mod volume;

use std::path::PathBuf;

pub use crate::access::{Directory, Mode, Owner};
pub use crate::complaint::Complaint;
pub use crate::disk::{DiskMatch, Size, Transport};
pub use crate::duration::Span;
pub use crate::enroll::{Enroll, EnrollRule};
pub use crate::error::{Error, Errors, Place, Snippet};
pub use crate::fact::{Fact, Filled, facts_of, fill};
pub use crate::join::{Datastore, ENROLL_PORT, INIT_WAIT, Join, ServerAddress, TicketSource, Version};
pub use crate::k3s::{ConfigScalar, ConfigValue, K3sVersion, Mirror, Sha256};
pub use crate::labels::{
    CONTROL_PLANE as CONTROL_PLANE_LABEL, ETCD as ETCD_LABEL, is_key as is_label_key, is_value as is_label_value,
};
pub use crate::metrics::{Allow, Log, LogLevel, METRICS_PORT, Metrics, StatusPage};
pub use crate::model::{
    Arch, Cluster, Distribution, ExternalAddress, Filesystem, Format, Managed, Node, Repair, Role, Settings, Volume,
    VolumeSource,
};
pub use crate::net::{Cidr, Listen, ListenHost};
pub use crate::network::{KUBELET_PORT, usual_network};
pub use crate::node::is_node_name;
pub use crate::origins::{Origin, Origins};
pub use crate::pattern::Pattern;
pub use crate::persistent::{ClaimName, PersistentVolume, STORAGE_CLASS, is_object_name, object_name, persistent_path};
pub use crate::pressure::{Measured, Percent, Pressure, Usage};
pub use crate::reclaim::{LogPattern, Reclaim, Reclaimable, Reclaimed, Reserve};
pub use crate::secret::{HIDDEN, Secret};
pub use crate::taint::{Effect, STARTUP_TAINT, Taint};

use crate::origins::SECTIONS;
use crate::reader::{Reader, Section};
use crate::source::{Sources, Spot};
use crate::tree::Table;

/// One settings file, as the host found it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path; only its name matters for the order.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// Its permission bits, such as `0o600`.
    pub mode: u32,
    /// The user that it belongs to; 0 is root.
    pub uid: u32,
}

impl std::fmt::Debug for SourceFile {
    /// Without the text, which may have secrets in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceFile")
            .field("path", &self.path)
            .field("mode", &format_args!("{:04o}", self.mode))
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

/// Settings that are in order, and where they come from.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where every value was written.
    pub origins: Origins,
    /// What works and is unwise, or may not be what was meant.
    pub warnings: Vec<Error>,
}

/// Reads all files, in the order of their names whatever the order here.
///
/// No file, or files with nothing but comments, are the default settings, for which
/// [`Settings::is_empty`] holds.
///
/// # Errors
/// Every problem in every file, and every one between them.
pub fn load(files: &[SourceFile]) -> Result<Loaded, Errors> {
    read_all(files, false)
}

/// The same for files that are not in their place yet: a secret in one that others can read, or that is not root's, is a
/// warning.
///
/// # Errors
/// As [`load`].
pub fn load_drafts(files: &[SourceFile]) -> Result<Loaded, Errors> {
    read_all(files, true)
}

fn read_all(files: &[SourceFile], drafts: bool) -> Result<Loaded, Errors> {
    let sources = Sources::new(files);
    let mut errors = Vec::new();
    let mut merged = Table::new();
    let mut sound = true;
    for (index, file) in sources.iter() {
        if file.text.is_empty() {
            sound = false;
            errors.push(cut_off(&sources, index));
            continue;
        }
        let (tree, problems) = tree::parse(index, &file.text);
        if !problems.is_empty() {
            sound = false;
            errors.extend(syntax(&sources, index, &file.text, &problems));
            continue;
        }
        let mut reader = Reader::new(&sources, false, drafts);
        read(&mut reader, &tree);
        errors.append(&mut reader.errors);
        merged = merge::merge(merged, merge::alone(tree));
    }
    let mut reader = Reader::new(&sources, sound, drafts);
    let settings = read(&mut reader, &merged);
    errors.append(&mut reader.errors);
    if !errors.is_empty() {
        return Err(Errors::new(errors));
    }
    Ok(Loaded { settings, origins: Origins::of(&sources, &merged), warnings: reader.warnings })
}

/// A file without a byte in it is what a full disk or a power cut leaves: what was in it is not known, and nobody took it out
/// of the settings.
fn cut_off(sources: &Sources<'_>, index: usize) -> Error {
    let complaint = Complaint::new("the file is empty: a full disk or a power cut may have cut it off")
        .suggest("write it again, or remove it; one that shall say nothing has a comment in it");
    Error { snippet: None, ..sources.error(Spot::new(index, 0..0), "", complaint) }
}

/// The first problem of each of the first lines that are no TOML: later ones
/// mostly follow from them.
fn syntax(sources: &Sources<'_>, index: usize, text: &str, problems: &[toml::de::Error]) -> Vec<Error> {
    const MOST: usize = 3;
    let mut errors: Vec<Error> = Vec::new();
    for problem in problems {
        let span = problem.span().unwrap_or(text.len()..text.len());
        let (message, help) = slip::of(text, span.start, problem.message());
        let mut complaint = Complaint::new(message);
        complaint.suggestion = help.map(str::to_owned);
        let error = sources.error(Spot::new(index, span), "", complaint);
        if errors.iter().all(|other| other.place.line != error.place.line) && errors.len() < MOST {
            errors.push(error);
        }
    }
    errors
}

/// Reads one tree. What cannot be used is noted and left at its default.
fn read<'a>(reader: &mut Reader<'a>, tree: &'a Table) -> Settings {
    let root = Section { path: String::new(), at: Spot::new(0, 0..0), table: tree };
    let later = ["registry", "secret", "manifest", "upgrade", "notify", "host"];
    reader.known(&root, &SECTIONS, &later);
    let (cluster, managed) = match cluster::read(reader, &root) {
        Some(cluster::Kubernetes::Own(cluster)) => (Some(*cluster), None),
        Some(cluster::Kubernetes::Managed(managed)) => (None, Some(managed)),
        None => (None, None),
    };
    let enroll = enroll::read(reader, &root);
    let enroll = together::check(reader, &root, cluster.as_ref(), enroll);
    network::check(reader, &root);
    together::labels_need_k3s(reader, &root, managed.is_some());
    together::persistent_volumes(reader, &root, root.get("cluster").is_some() && managed.is_none());
    let reclaim = reclaim::read(reader, &root, managed.is_some());
    Settings {
        cluster,
        managed,
        node: node::read(reader, &root),
        volumes: volume::read(reader, &root),
        enroll,
        metrics: metrics::read(reader, &root),
        pressure: pressure::pressure(reader, &root),
        usage: pressure::usage(reader, &root),
        directories: pressure::directories(reader, &root),
        reclaim,
        log: metrics::read_log(reader, &root),
    }
}

#[cfg(test)]
mod tests;
