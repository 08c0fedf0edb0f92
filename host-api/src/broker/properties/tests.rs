use proptest::prelude::*;

/// So many cases, and a hundred times as many in the long form.
fn cases(short: u32) -> ProptestConfig {
    let times = if std::env::var_os("KEYHOLE_LONG").is_some() { 100 } else { 1 };
    ProptestConfig { cases: short * times, max_shrink_iters: 4096, ..ProptestConfig::default() }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// A URL as a step may write it, and a pattern. Bytes alone would hardly ever make one.
fn url_and_pattern() -> impl Strategy<Value = String> {
    let scheme = prop::sample::select(vec!["https", "http", "HTTPS", "ftp", "ws"]);
    let user = prop::sample::select(vec!["", "", "", "", "u@", "u:p@", "api.example.com@", ":@", "%40@"]);
    let name = "[a-z0-9-]{1,6}(\\.[a-z0-9-]{1,6}){0,3}";
    let address = prop::sample::select(vec![
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "1.2.3",
        "1.2.3.4.",
        "[::1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[fe80::1%25eth0]",
        "1.2.3.0x",
        "256.1.1.1",
        "0x",
        "a.0",
        "xn--bcher-kva.example",
        "xn--a",
        "%61pi.example.com",
        "api.example.com.",
        "API.Example.COM",
        "a..b",
        "-a.b",
        "a_b.c",
        "api.example.com%00",
        "b%C3%BCcher.example",
        "",
    ]);
    let host = prop_oneof![3 => name.prop_map(String::from), 2 => address.prop_map(String::from), 1 => "[!-~]{1,20}"];
    let port = prop::sample::select(vec!["", "", ":443", ":80", ":8443", ":", ":0", ":00443", ":65536", ":x"]);
    let rest = prop_oneof![Just(String::new()), "/[!-~]{0,20}", "[?][!-~]{0,12}", "[\\\\#;][!-~]{0,12}"];
    let pattern = prop_oneof!["[*.a-z0-9-]{1,12}(:[0-9]{1,3})?", "(\\*\\.)?[a-z0-9]{1,3}\\.[a-z]{1,3}"];
    (scheme, user, host, port, rest, pattern)
        .prop_map(|(scheme, user, host, port, rest, pattern)| format!("{scheme}://{user}{host}{port}{rest}\n{pattern}"))
}

mod bound_addresses_are_as_the_registries_say {
    use super::*;

    proptest! {
        #![proptest_config(cases(20_000))]
        #[test]
        fn in_every_form(data in bytes(64)) {
            super::super::addresses(&data);
        }
    }
}

mod bound_the_host_that_is_checked_is_the_one_that_is_connected_to {
    use super::*;

    proptest! {
        #![proptest_config(cases(20_000))]
        #[test]
        fn for_urls(text in url_and_pattern()) {
            super::super::hosts(text.as_bytes());
        }
    }
}

mod bound_placeholders_are_found_in_every_encoding {
    use super::*;

    proptest! {
        #![proptest_config(cases(10_000))]
        #[test]
        fn in_every_part(data in bytes(160)) {
            super::super::placeholders(&data);
        }
    }
}

mod sealed_no_decoding_of_a_scrubbed_answer_has_a_secret {
    use super::*;

    proptest! {
        #![proptest_config(cases(4_000))]
        #[test]
        fn in_any_chunks(data in bytes(400)) {
            super::super::scrubbing(&data);
        }
    }
}

mod bound_a_body_differs_in_the_credentials_place_alone {
    use super::*;

    proptest! {
        #![proptest_config(cases(10_000))]
        #[test]
        fn and_parses(data in bytes(300)) {
            super::super::bodies(&data);
        }
    }
}
