//! The only crate that touches the machine: the real one and a simulated one, both behind the ports.

mod pace;
pub mod real;
pub mod sim;
