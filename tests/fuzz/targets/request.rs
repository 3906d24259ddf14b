//! The fuzzer's way to `bowline_fuzz::request`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::request::check(data);
});
