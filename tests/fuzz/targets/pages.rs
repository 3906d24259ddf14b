//! The fuzzer's way to `bowline_fuzz::pages`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::pages::check(data);
});
