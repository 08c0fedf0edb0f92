//! A3, with a resolver of the attacker's: a name that leads elsewhere when it is asked for again.

use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyhole_host_api::apps::CustomPlace;
use keyhole_host_api::broker::{Decision, Egress};
use keyhole_tests::host::scope;
use keyhole_tests::server::{Server, answer};

use crate::rig::*;

#[test]
fn a3_a_name_that_leads_elsewhere_on_the_second_look_up_wins_nothing() {
    // A resolver of the test's own needs port 53 and /etc/resolv.conf: in namespaces of its own.
    let dir = tempfile::tempdir().unwrap();
    let resolver = dir.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    let unshare = ["--user", "--map-root-user", "--mount", "--net"];
    let possible = Command::new("unshare").args(unshare).args(["sh", "-c", "ip link set lo up"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine gives no namespaces of one's own (unshare, ip)");
        return;
    }
    let inside = "ip link set lo up; mount --bind \"$1\" /etc/resolv.conf; exec \"$2\" --exact --ignored --nocapture \
                  rebinding::a3_inside";
    let output = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-ec", inside, "sh"])
        .arg(&resolver)
        .arg(std::env::current_exe().unwrap())
        .env("KEYHOLE_TEST_INSIDE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Answers each question for an IPv4 address: the first with 127.0.0.1, all later ones with 127.0.0.2.
fn rebinding_resolver(look_ups: Arc<AtomicUsize>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:53").expect("port 53 of a network of its own");
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let name = question[12..length].iter().position(|byte| *byte == 0).expect("a name's end");
            let end = 12 + name + 5;
            let is_v4 = question[end - 4..end - 2] == [0, 1];
            // RFC 1035, section 4.1: the same question; an answer that points to its name, with no time to live.
            let mut reply = question[..end].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
            if is_v4 {
                let last = if look_ups.fetch_add(1, Ordering::SeqCst) == 0 { 1 } else { 2 };
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, last]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the inner half of a3_a_name_that_leads_elsewhere_on_the_second_look_up_wins_nothing, which runs it"]
async fn a3_inside() {
    assert!(std::env::var_os("KEYHOLE_TEST_INSIDE").is_some(), "not by itself: it binds port 53");
    let look_ups = Arc::new(AtomicUsize::new(0));
    rebinding_resolver(look_ups.clone());
    let scene = Scene::at(|authority| {
        Server::http(authority, &["rebind.example"], |_| {
            let mut answer = answer(200, "text/plain", "good");
            // So that the next request needs a connection, and a look-up, of its own.
            answer.headers_mut().insert("connection", "close".parse().unwrap());
            answer
        })
    })
    .await;
    let bad = TcpListener::bind(("127.0.0.2", scene.service.port)).unwrap();
    bad.set_nonblocking(true).unwrap();
    let host = format!("rebind.example:{}", scene.service.port);
    let place = CustomPlace::Header { name: "Authorization".to_owned(), template: "Bearer {key}".to_owned() };
    let account = scene.custom(&host, KEY, vec![place]).await;
    // The operator opened the first address, not the second.
    let broker = scene.broker_with(Egress { allow_ranges: vec!["127.0.0.1/32".parse().unwrap()], ..Egress::default() });
    let run = Run::of(broker.session(scope("alice", &[("custom", "custom", Some(&account))])), "custom").await;
    let url = format!("https://{host}/");
    assert_eq!(run.get(&url).await.unwrap().status, 200);
    assert_eq!(look_ups.load(Ordering::SeqCst), 1, "what was checked is what was connected to");
    let reason = run.refused("the second", run.get(&url).await);
    assert!(reason.starts_with("127.0.0.2 is loopback"), "{reason}");
    assert_eq!(scene.service.received().len(), 1);
    assert_eq!(bad.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody connected to the second");
    let decisions: Vec<_> = scene.uses_of(&broker).await.iter().map(|used| used.decision).collect();
    assert_eq!(decisions, [Decision::Allowed, Decision::Refused]);
}
