//! A1 to A7: where a request may go. Where it is refused, nobody is connected to. `rebinding.rs` has the rest of A3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Request;
use http_body_util::{BodyExt, Empty};
use keyhole_host_api::apps::CustomPlace;
use keyhole_host_api::broker::{Body, Decision, Egress};
use keyhole_host_api::store::Expect;
use keyhole_tests::host::scope;
use keyhole_tests::server::Server;
use serde_json::json;

use crate::rig::*;

/// One of each kind that is not public, and the ends of some.
const CLOSED: [&str; 36] = [
    "0.0.0.0",
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "169.254.1.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "5f00::1",
    "4000::1",
    "2001:2::1",
];

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// A request to a URL that need not be one that the `http` crate would take.
fn raw(url: &str, bearer: Option<&str>) -> Option<Request<Body>> {
    let request = Request::builder().uri(url);
    let request = match bearer {
        Some(bearer) => request.header("authorization", bearer),
        None => request,
    };
    request.body(Empty::new().map_err(|never| match never {}).boxed_unsync()).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_addresses_that_are_not_public_are_refused() {
    let scene = Scene::new().await;
    let port = scene.evil.port;
    let addresses: Vec<IpAddr> = CLOSED.iter().map(|text| text.parse().unwrap()).collect();
    // Names for them, too, all opened by the workflow.
    let name = |index: usize| format!("n{index}.example");
    let named = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| format!("{}:443:{}:{port}", name(index), bracketed(*address)).parse().unwrap());
    let broker = scene.broker_with(Egress { resolve: named.collect(), ..Egress::default() });
    let mut open = scope("alice", &[("acme", "acme", Some(&scene.account))]);
    for (index, address) in addresses.iter().enumerate() {
        open.allow_hosts.push(format!("http://{}:{port}", bracketed(*address)).parse().unwrap());
        open.allow_hosts.push(name(index).parse().unwrap());
    }
    let run = Run::of(broker.session(open), "acme").await;
    for (index, address) in addresses.iter().enumerate() {
        for url in [format!("http://{}:{port}/", bracketed(*address)), format!("https://{}/", name(index))] {
            let reason = run.refused(&url, run.send(request("GET", &url, &[], "")).await);
            assert!(reason.contains("--allow-range"), "{url}: {reason}");
        }
    }
    Scene::all_refused(&scene.uses_of(&broker).await, 2 * CLOSED.len());
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_nor_does_a_credential_go_there() {
    let scene = Scene::new().await;
    for address in ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "[fd00:ec2::254]"] {
        let resolve = vec![format!("{HOST}:443:{address}:{}", scene.service.port).parse().unwrap()];
        let broker = scene.broker_with(Egress { resolve, ..Egress::default() });
        let run = Run::of(broker.session(scene.scope()), "acme").await;
        let reason = run.refused(address, run.get(&format!("https://{HOST}/v1/me")).await);
        assert!(reason.contains("--allow-range"), "{reason}");
        let uses = scene.uses_of(&broker).await;
        let used = uses.last().unwrap();
        assert_eq!((used.decision, used.status), (Decision::Refused, None));
        assert_eq!(used.account.as_deref(), Some(scene.account.as_str()));
    }
    scene.untouched();
    // What the operator opened is reached.
    assert_eq!(scene.run().await.get(&format!("https://{HOST}/v1/me")).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_an_address_in_another_notation_is_the_same_address_or_none() {
    let scene = Scene::new().await;
    let port = scene.evil.port;
    // The workflow opened the plain form, and the operator its range: no other spelling comes with it.
    let plain = format!("http://127.0.0.1:{port}");
    let run = Run::of(scene.broker.session(scene.allowing(&[&plain])), "acme").await;
    let mut refusals = 0;
    for host in [
        "2130706433",
        "0x7f000001",
        "0x7F.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "[::ffff:7f00:1%25lo]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[::1%25lo]",
    ] {
        let url = format!("http://{host}:{port}/");
        // What is no URI to the `http` crate is none to a step either.
        let Some(request) = raw(&url, None) else { continue };
        run.refused(&url, run.send(request).await);
        refusals += 1;
    }
    assert!(refusals >= 9, "only {refusals} came as far as the broker");
    Scene::all_refused(&scene.uses().await, refusals);
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_an_address_inside_another_is_refused() {
    let scene = Scene::new().await;
    let port = scene.evil.port;
    let mut forms: Vec<Ipv6Addr> = Vec::new();
    for inner in ["127.0.0.1", "169.254.169.254", "10.0.0.1"] {
        let v4: Ipv4Addr = inner.parse().unwrap();
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        forms.extend([
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
            Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0, 0, !high, !low),
            Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
        ]);
    }
    let name = |index: usize| format!("n{index}.example");
    let named = forms.iter().enumerate().map(|(index, form)| format!("{}:443:[{form}]:{port}", name(index)));
    let resolve = named.map(|text| text.parse().unwrap()).collect();
    let broker = scene.broker_with(Egress { resolve, ..Egress::default() });
    let mut open = scene.scope();
    for (index, form) in forms.iter().enumerate() {
        open.allow_hosts.push(format!("http://[{form}]:{port}").parse().unwrap());
        open.allow_hosts.push(name(index).parse().unwrap());
    }
    let run = Run::of(broker.session(open), "acme").await;
    for (index, form) in forms.iter().enumerate() {
        for url in [format!("http://[{form}]:{port}/"), format!("https://{}/", name(index))] {
            run.refused(&url, run.send(request("GET", &url, &[], "")).await);
        }
    }
    Scene::all_refused(&scene.uses_of(&broker).await, 2 * forms.len());
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_a_name_with_one_bad_address_is_refused_whatever_the_others_are() {
    let scene = Scene::new().await;
    let port = scene.service.port;
    // TEST-NET would be refused by itself; this one is public, and must not be connected to either.
    for addresses in [format!("8.8.8.8,127.0.0.1:{port}"), format!("127.0.0.1:{port},8.8.8.8")] {
        let resolve = vec![format!("{HOST}:443:{addresses}").parse().unwrap()];
        let broker = scene.broker_with(Egress { resolve, ..Egress::default() });
        let run = Run::of(broker.session(scene.scope()), "acme").await;
        let reason = run.refused(&addresses, run.get(&format!("https://{HOST}/v1/me")).await);
        assert!(reason.starts_with("127.0.0.1 is loopback"), "{reason}");
        assert_eq!(scene.uses_of(&broker).await.last().unwrap().decision, Decision::Refused);
    }
    // By the system's own resolver.
    let broker = scene.broker_with(Egress::default());
    let local = format!("localhost:{port}");
    let run = Run::of(broker.session(scene.allowing(&[&local])), "acme").await;
    let reason = run.refused("localhost", run.send(request("GET", &format!("https://{local}/"), &[], "")).await);
    assert!(reason.contains("loopback"), "{reason}");
    scene.untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_a_url_that_two_parsers_read_differently_is_refused() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    let mut refusals = 0;
    for url in [
        "https://api.acme.example@evil.example/",
        "https://api.acme.example:443@evil.example/",
        "https://api.acme.example%40evil.example/",
        "https://evil.example\\@api.acme.example/",
        "https://evil.example\\.api.acme.example/",
        "https://evil.example%23@api.acme.example/",
        "https://evil.example%2F@api.acme.example/",
        "https://evil.example%2f.api.acme.example/",
        "https://evil.example%00.api.acme.example/",
        "https://api.acme.example.evil.example/",
        "https://acme.example/",
        "https://api.acme.example./",
        "https://evil.example./",
        "https://api%2Eacme.example/",
        "https://%61pi.acme.example/",
        "https://xn--pi-6kc.acme.example/",
        "https://аpi.acme.example/",
        "https://ａpi.acme.example/",
        "https://api。acme.example/",
        "https://api.acme.exam\tple/",
        "https://evil.example\n.api.acme.example/",
        "https://evil.example#@api.acme.example/",
        "https://evil.example#.api.acme.example/",
        "https://evil.example?@api.acme.example/",
        "https://evil.example;.api.acme.example/",
        "https:///evil.example/",
        "https:evil.example/",
        "//evil.example/",
    ] {
        let Some(request) = raw(url, Some(&run.bearer)) else { continue };
        run.refused(url, run.send(request).await);
        refusals += 1;
    }
    assert!(refusals >= 14, "only {refusals} came as far as the broker");
    let uses = scene.uses().await;
    Scene::all_refused(&uses, refusals);
    scene.untouched();

    // Upper case is the same name (RFC 3986, section 3.2.2), to the check and to the connection.
    let answered = run.get("https://API.Acme.EXAMPLE/x?@evil.example").await.unwrap();
    assert_eq!(answered.status, 200);
    assert_eq!(scene.service.received()[0].header("host"), Some(HOST));
    assert_eq!(scene.service.received()[0].target, "/x?@evil.example");
    assert_eq!(scene.evil.accepted(), 0);
}

#[test]
fn a4_nor_can_a_component_say_an_authority_that_is_none() {
    let mut guest = Guest::new();
    let evil = Server::http(&guest.keyhole.authority, &[EVIL], echo);
    let service = Server::http(&guest.keyhole.authority, &[HOST], echo);
    guest.keyhole.lead(EVIL, &evil);
    guest.keyhole.lead(HOST, &service);
    let authorities = [
        "evil.example\n.api.acme.example",
        "evil.example\\.api.acme.example",
        "evil.example/.api.acme.example",
        "evil.example#.api.acme.example",
        "evil.example?.api.acme.example",
        "api.acme.example@evil.example",
        "evil.example\t",
        " evil.example",
        "аpi.acme.example",
        "api.acme.example:443:443",
        "",
    ];
    let requests: Vec<_> = authorities
        .iter()
        .map(|authority| json!({"url": format!("https://{HOST}/v1/me"), "authority": authority, "account": true}))
        .collect();
    let run = guest.attack("sequence", json!({ "requests": requests }), &["--allow-host", EVIL]);
    let found = run["return_value"].as_array().unwrap();
    assert_eq!(found.len(), authorities.len());
    for (authority, found) in authorities.iter().zip(found) {
        assert!(!found["error"].is_null(), "{authority:?}: {found}");
    }
    assert_eq!((service.accepted(), evil.accepted()), (0, 0));
    assert!(guest.audit().as_array().unwrap().iter().all(|used| used["decision"] == "refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_credential_goes_over_tls_and_to_its_port_alone() {
    let scene = Scene::new().await;
    let run = scene.run().await;
    let port = scene.service.port;
    for url in [
        format!("http://{HOST}/v1/me"),
        format!("http://{HOST}:443/v1/me"),
        format!("https://{HOST}:{port}/v1/me"),
        format!("http://{HOST}:{port}/v1/me"),
        format!("https://{HOST}:80/v1/me"),
    ] {
        run.refused(&url, run.get(&url).await);
    }
    Scene::all_refused(&scene.uses().await, 5);
    scene.untouched();

    // Where the definition names the port, it is the account's.
    let place = CustomPlace::Header { name: "Authorization".to_owned(), template: "Bearer {key}".to_owned() };
    let account = scene.custom(&format!("{HOST}:{port}"), KEY, vec![place]).await;
    let run = scene.run_with("custom", &account).await;
    assert_eq!(run.get(&format!("https://{HOST}:{port}/")).await.unwrap().status, 200);
    run.refused("its scheme's port", run.get(&format!("https://{HOST}/")).await);
    assert_eq!(scene.service.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_a_field_smuggles_no_host_when_it_is_stored_nor_when_it_is_used() {
    let scene = Scene::new().await;
    let fields = |subdomain: &str| {
        let given = [("subdomain", subdomain), ("email", "a@acme.example"), ("api_token", "Kq8vX2mB7tR4wZ9n")];
        given.map(|(name, value)| (name.to_owned(), keyhole_host_api::vault::Secret::new(value.to_owned()))).into()
    };
    let connect = |subdomain: &str| keyhole_host_api::accounts::Connect {
        app: "zendesk".to_owned(),
        nickname: None,
        fields: fields(subdomain),
        custom: None,
    };
    let alice = keyhole_tests::host::member("alice");
    for subdomain in [
        "evil.example/",
        "a.b@c",
        "x#",
        "x?",
        "..",
        ".",
        "",
        "evil.example",
        "a:443",
        "a\\b",
        "a b",
        "a%2fb",
        "-",
        "a-",
        "a/../b",
        "evil.example%00",
        "аcme",
        "a\nb",
        "a@",
        "*",
        "{subdomain}",
    ] {
        let stored = scene.host.accounts.connect(&alice, connect(subdomain)).await;
        assert!(stored.is_err(), "{subdomain:?} was stored");
    }
    assert_eq!(scene.host.store.scan("accounts/", None, 10).await.unwrap().len(), 1, "acme's alone");

    // Whoever can write the store changes it afterwards.
    let account = scene.host.accounts.connect(&alice, connect("good")).await.unwrap().account.id;
    let key = format!("accounts/{account}");
    let record = scene.host.store.get(&key).await.unwrap().unwrap();
    let text = String::from_utf8(record.value).unwrap();
    for subdomain in ["evil.example/", "evil", "x#", "a.b@c", ".."] {
        let changed = text.replace("\"good\"", &format!("\"{subdomain}\""));
        assert_ne!(changed, text);
        scene.host.store.write(&key, Expect::Any, Some(changed.into_bytes())).await.unwrap();
        let mut open = scope("alice", &[("zendesk", "zendesk", Some(&account))]);
        open.allow_hosts.push(EVIL.parse().unwrap());
        let session = scene.broker.session(open);
        // Either no placeholder is made, or it leads nowhere.
        let Ok(injected) = session.account("zendesk").await else { continue };
        let headers: Vec<(&str, &str)> =
            injected.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for host in [EVIL, "evil.zendesk.com", "evil.example.zendesk.com"] {
            let sent = request("GET", &format!("https://{host}/"), &headers, "");
            assert!(keyhole_tests::host::send(&session, sent).await.is_err(), "{subdomain} {host}");
        }
    }
    scene.untouched();
    assert!(scene.uses().await.iter().all(|used| used.status.is_none()));
}

/// Asks a `keyhole serve` on loopback for a page that needs no token, by three names that the workflow opened, from
/// a run with these flags.
fn ask_keyhole(guest: &Guest, more: &[&str]) -> serde_json::Value {
    use std::io::{BufRead as _, BufReader};
    let mut serve = guest.keyhole.command(&["--json", "serve", "--listen", "127.0.0.1:0"]);
    let mut child = serve.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        text += &line.unwrap();
        if text.ends_with('}') {
            break;
        }
    }
    let said: serde_json::Value = serde_json::from_str(&text).unwrap();
    let port = said["url"].as_str().unwrap().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let hosts = ["127.0.0.1", "localhost", "[::ffff:7f00:1]"].map(|host| format!("http://{host}:{port}"));
    let requests: Vec<_> = hosts.iter().map(|host| json!({"url": format!("{host}/api/openapi.json")})).collect();
    let event = json!({"attack": "sequence", "requests": requests});
    let step = keyhole_tests::workspace::component("hostile").display().to_string();
    let mut args = vec!["--json", "run", step.as_str(), "--event", "-", "--as", "alice"];
    for host in &hosts {
        args.extend(["--allow-host", host]);
    }
    args.extend(more);
    let run = guest.keyhole.call_with(&args, &event.to_string()).json();
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(run["requests"].as_array().unwrap().len(), 3, "{run:#}");
    run
}

#[track_caller]
fn keyhole_was_not_reached(guest: &Guest, run: &serde_json::Value) {
    for (request, found) in run["requests"].as_array().unwrap().iter().zip(run["return_value"].as_array().unwrap()) {
        assert_eq!((&request["decision"], &request["status"]), (&json!("refused"), &json!(null)), "{request}");
        assert!(found["error"].as_str().is_some_and(|error| error.contains("refused")), "{found}");
    }
    assert!(guest.audit().as_array().unwrap().iter().all(|used| used["decision"] == "refused"));
}

#[test]
fn a7_keyholes_own_address_is_refused() {
    // As an operator has it who opened nothing.
    let guest = Guest::new();
    let run = ask_keyhole(&guest, &[]);
    keyhole_was_not_reached(&guest, &run);
}

#[test]
fn a7_keyholes_own_address_is_refused_where_its_range_is_open() {
    let guest = Guest::new();
    let run = ask_keyhole(&guest, &["--allow-range", "127.0.0.0/8"]);
    keyhole_was_not_reached(&guest, &run);
}
