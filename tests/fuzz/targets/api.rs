//! The fuzzer's way to `bowline_fuzz::api`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::api::check(data);
});
