//! The fuzzer's way to `bowline_fuzz::cloud`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::cloud::check(data);
});
