//! The fuzzer's way to `bowline_fuzz::joiner`.

#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bowline_fuzz::joiner::check(data);
});
