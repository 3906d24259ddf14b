//! The fuzzer's way to `bowline_fuzz::answer`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::answer::check(data);
});
