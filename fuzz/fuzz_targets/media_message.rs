#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| server::fuzzing::media_message(bytes));
