//! libFuzzer's way to [`tcpw_fuzz::tables`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpw_fuzz::tables(data));
