//! Several machines: who comes in, as what, and what becomes of the cluster when they go. (Early in the alphabet, since
//! they take longest.)

mod agents;
mod anew;
mod kept;
mod names;
mod servers;
