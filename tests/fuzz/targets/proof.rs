//! The fuzzer's way to `bowline_fuzz::proof`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::proof::check(data);
});
