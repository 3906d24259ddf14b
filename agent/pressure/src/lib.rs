//! How filesystems fill: their samples, what is remembered of them, and when each is full.
//!
//! - [`history`]: what is kept of one filesystem, in bounded memory; clocks that are set, reboots and machines that were off.
//! - [`file`]: all histories as the bytes of one preallocated file that is changed in place.
//! - [`forecast`]: from a history to seconds until a limit, with a confidence.
//! - [`eviction`]: the free bytes and inodes below which the kubelet evicts, out of its real configuration.
//!
//! An outlook costs some 0.1 ms of CPU (measured at `opt-level = 3`, with a full history), and asking it about any number of
//! limits next to nothing. For ten filesystems, bytes and inodes, that is 0.6 s a day where it is made anew every five minutes, and
//! 3 s every minute.
//!
//! Nothing here does I/O. Whoever has the machine reads `statvfs` once a minute, gives it to [`file::Store::add`], writes the
//! patches that come back, and asks:
//!
//! ```
//! use bowline_pressure::file::{Store, fresh};
//! use bowline_pressure::forecast::{MIN_HISTORY, Outlook};
//! use bowline_pressure::history::Sample;
//!
//! let (mut store, damage) = Store::read(&fresh()).map_err(|why| why.to_string())?;
//! assert_eq!(damage.slots, 0);
//! for minute in 0..60u64 {
//!     let (at, uptime) = (1_760_000_000 + minute as i64 * 60, 300 + minute * 60);
//!     let sample = Sample { at, boot: 1, uptime, bytes: 5_000_000_000 + minute * 6_000_000, inodes: 90_000 };
//!     let _patches = store.add("uuid:2b1e", sample);
//! }
//! let history = store.history("uuid:2b1e").ok_or("no such filesystem")?;
//! let outlook = Outlook::of(&history.bytes(), MIN_HISTORY).ok_or("too early")?;
//! // 3.6 GB are left for ordinary users: at 100 kB a second that is ten hours.
//! assert!((outlook.until(3.6e9).seconds - 36_000.0).abs() < 60.0);
//! # Ok::<(), String>(())
//! ```

#![deny(clippy::disallowed_methods, clippy::disallowed_types)] // law pure_plan: no I/O here

pub mod eviction;
pub mod file;
pub mod forecast;
pub mod history;
