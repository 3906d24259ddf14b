//! The fuzzer's way to `bowline_fuzz::agreed`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::agreed::check(data);
});
