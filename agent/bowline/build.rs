//! Tells the program when it was built (a clock that is earlier is wrong), and keeps small what it holds in memory.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    println!("cargo:rustc-env=BOWLINE_BUILT={}", given.unwrap_or_else(now));
    if var("PROFILE").is_ok_and(|profile| profile == "release") {
        link_small();
    }
}

/// Measured at rest: 0.2 of 10 MB.
fn link_small() {
    // Functions that are equal are there once. The linker that Rust brings for x86-64 can do it, that of others can not.
    if var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
    // Nothing unwinds here: what a panic's message needs of libgcc is less than the shared library takes.
    let linker = var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    let asked = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output();
    let file = asked.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()).unwrap_or_default();
    if let Some(folder) = Path::new(&file).parent().filter(|folder| folder.is_absolute()) {
        println!("cargo:rustc-link-search=native={}", folder.display());
        println!("cargo:rustc-link-lib=static=gcc_eh");
    }
}
