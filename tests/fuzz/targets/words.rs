//! The fuzzer's way to `bowline_fuzz::words`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::words::check(data);
});
