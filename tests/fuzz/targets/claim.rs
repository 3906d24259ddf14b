//! The fuzzer's way to `bowline_fuzz::claim`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::claim::check(data);
});
