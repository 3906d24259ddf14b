//! Scenarios: `NAME.toml` says how a machine is, what its owner wrote, and what happens; `NAME.txt` beside it is what
//! Bowline then says and does, word for word. They are the shortest way to see its behaviour.
//!
//! - `scenario`: what can be written into such a file.
//! - `play`: the whole engine on the simulated machine, told as text.

mod play;
mod scenario;

pub use play::play;
pub use scenario::{Event, Scenario};
