//! The settings that cases start from.

use bowline_testbed::{K3S_VERSION, Releases};

/// A K3s server without volumes.
pub fn server(releases: &Releases) -> String {
    format!(
        "[cluster]\ndistribution = \"k3s\"\nversion = \"{K3S_VERSION}\"\nrole = \"server\"\n\
         mirror = \"{}\"\nca-file = \"/etc/bowline/mirror-ca.pem\"\n\
         [node]\naddress = \"10.0.1.0/24\"\n\
         labels = {{ role = \"control-plane\", \"node-role.kubernetes.io/ingress\" = \"true\" }}\n",
        releases.url()
    )
}

/// The data volume, formatted when it is blank.
pub fn volume() -> String {
    volume_with("format = \"blank-only\"")
}

/// The data volume with other keys.
pub fn volume_with(more: &str) -> String {
    format!(
        "[[volume]]\nname = \"data\"\ndevice = \"/dev/disk/by-id/scsi-0HC_Volume_{}\"\nmount = \"/mnt/data\"\n{more}\n",
        crate::VOLUME
    )
}
