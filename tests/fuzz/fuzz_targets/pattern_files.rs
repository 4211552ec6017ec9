//! libFuzzer's way to [`tcpw_fuzz::pattern_files`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpw_fuzz::pattern_files(data));
