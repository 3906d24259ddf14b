//! The fuzzer's way to the target that `TARGET` names.

#![no_main]

use bowline_fuzz::Check;
use std::sync::LazyLock;

static CHECK: LazyLock<Check> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    bowline_fuzz::target(&name).unwrap_or_else(|| panic!("TARGET={name:?} is none of {:?}", bowline_fuzz::names()))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    CHECK(data);
});
