//! Tells the program when it was built (a clock that is earlier is wrong), keeps small what it holds in memory, and lets it start on
//! older systems than the one that it is built on.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse::<u64>().ok());
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    println!("cargo:rustc-env=BOWLINE_BUILT={}", given.unwrap_or_else(now));
    if var("PROFILE").is_ok_and(|profile| profile == "release") {
        link_small();
        link_apart()?;
        link_for_older();
    }
    Ok(())
}

/// What Rust's library uses of a newer libc where that is there (`extern_weak`), and does without elsewhere: bound to the version of
/// the machine that builds, the program would start on no older one, such as Debian 12.
const NEWER: [&str; 3] = ["pidfd_spawnp", "pidfd_getpid", "posix_spawn_file_actions_addchdir"];

/// By the linker that Rust brings for x86-64; what others make of it was not tried.
fn link_for_older() {
    if var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        for symbol in NEWER {
            println!("cargo:rustc-link-arg-bins=-Wl,--defsym={symbol}=0");
        }
    }
}

/// What lies apart, for the linker.
const APART: &str = "apart.ld";

/// What the daemon does not run lies apart from what it does. By the linker that Rust brings for x86-64, as below.
fn link_apart() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed={APART}");
    if let (Ok("x86_64"), Ok(out)) = (var("CARGO_CFG_TARGET_ARCH").as_deref(), var("OUT_DIR")) {
        // Cargo keeps what is said here for all checkouts that build in one folder, also when this one is gone.
        let kept = Path::new(&out).join(APART);
        std::fs::copy(APART, &kept)?;
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", kept.display());
    }
    Ok(())
}

/// Measured at rest: 0.2 of 10 MB.
fn link_small() {
    // Functions that are equal are there once. The linker that Rust brings for x86-64 can do it, that of others cannot.
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
