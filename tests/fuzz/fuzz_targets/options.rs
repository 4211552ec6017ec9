//! libFuzzer's way to [`tcpw_fuzz::options`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpw_fuzz::options(data));
