//! The fuzzer's way to `bowline_fuzz::download`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::download::check(data);
});
