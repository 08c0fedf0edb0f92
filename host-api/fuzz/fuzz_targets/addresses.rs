#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keyhole_host_api::broker::properties::addresses(data));
