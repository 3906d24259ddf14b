//! What only a kernel of one's own shows: disks that come and go, grow, fail and have wrong names, and power cuts.

mod disks;
mod power;
