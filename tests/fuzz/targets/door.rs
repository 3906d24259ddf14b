//! The fuzzer's way to `bowline_fuzz::door`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::door::check(data);
});
