//! libFuzzer's way to [`tcpw_fuzz::superservers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tcpw_fuzz::superservers(data));
