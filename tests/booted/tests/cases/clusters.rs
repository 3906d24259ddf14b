//! Several machines: who comes in, as what, and what becomes of the cluster when they go.

mod agents;
mod anew;
mod backup;
mod floods;
mod kept;
mod names;
mod persistent;
mod servers;
