//! Calls every function of WASI that standard toolchains import and that Keyhole
//! links inert, and returns what each gave. `wasi:cli/exit` alone has an event of
//! its own, `{"exit": true}`: nothing comes after it.

mod world {
    #![allow(missing_docs, clippy::all)]
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: r#"
            package keyhole:inert;
            world inert {
                include wasi:cli/imports@0.2.12;
                include keyhole:step/step@0.1.0;
            }
        "#,
        world: "keyhole:inert/inert",
        generate_all,
    });
}

use serde_json::{Map, Value, json};
use world::keyhole::step::types::{Failure, FailureKind, Input};
use world::wasi::cli::{environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout};
use world::wasi::clocks::{monotonic_clock, wall_clock};
use world::wasi::filesystem::preopens;
use world::wasi::random::{insecure, insecure_seed, random};
use world::wasi::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, Network};
use world::wasi::sockets::{instance_network, ip_name_lookup, tcp, tcp_create_socket, udp, udp_create_socket};

struct Step;

impl world::Guest for Step {
    fn definition() -> String {
        json!({ "name": "inert", "version": env!("CARGO_PKG_VERSION"), "props": {} }).to_string()
    }

    fn configure(_prop: String, _state: String) -> Result<String, Failure> {
        Err(Failure { message: "nothing to configure".into(), kind: FailureKind::Input, retry: false, trace: None })
    }

    fn run(input: Input) -> Result<String, Failure> {
        let event: Value = serde_json::from_str(&input.event).unwrap_or_default();
        if event["exit"] == true {
            exit::exit(Err(()));
        }
        let port = event["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or(80);
        let mut seen = Map::new();
        command_line(&mut seen);
        files(&mut seen);
        clocks_and_random(&mut seen);
        let network = instance_network::instance_network();
        look_up(&mut seen, &network);
        for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
            stream_socket(&mut seen, &network, family, port);
            datagram_socket(&mut seen, &network, family, port);
        }
        Ok(Value::Object(seen).to_string())
    }
}

/// What a call gave, in words a test can look for: `denied: ..` for an error.
fn outcome<T>(result: Result<T, impl std::fmt::Debug>) -> Value {
    match result {
        Ok(_) => json!("ok"),
        Err(error) => json!(format!("denied: {error:?}")),
    }
}

fn command_line(seen: &mut Map<String, Value>) {
    seen.insert("environment".into(), json!(environment::get_environment()));
    seen.insert("arguments".into(), json!(environment::get_arguments()));
    seen.insert("initial-cwd".into(), json!(environment::initial_cwd()));
    let input = stdin::get_stdin();
    seen.insert("stdin.read".into(), outcome(input.read(64).map(drop)));
    seen.insert("stdin.blocking-read".into(), outcome(input.blocking_read(64)));
    seen.insert("stdin.skip".into(), outcome(input.blocking_skip(64)));
    seen.insert("stdout".into(), outcome(stdout::get_stdout().blocking_write_and_flush(b"inert: to stdout\n")));
    seen.insert("stderr".into(), outcome(stderr::get_stderr().blocking_write_and_flush(b"inert: to stderr\n")));
    seen.insert("terminal-stdin".into(), json!(terminal_stdin::get_terminal_stdin().is_some()));
    seen.insert("terminal-stdout".into(), json!(terminal_stdout::get_terminal_stdout().is_some()));
    seen.insert("terminal-stderr".into(), json!(terminal_stderr::get_terminal_stderr().is_some()));
}

/// Without a preopened directory there is no descriptor to call the rest on.
fn files(seen: &mut Map<String, Value>) {
    let directories = preopens::get_directories();
    seen.insert("directories".into(), json!(directories.iter().map(|(_, path)| path).collect::<Vec<_>>()));
    // Rust's own way to the same, with what a thief would look for.
    for path in ["/etc/passwd", "/proc/self/environ", "../../etc/shadow", "/"] {
        seen.insert(format!("read {path}"), outcome(std::fs::read(path)));
        seen.insert(format!("list {path}"), outcome(std::fs::read_dir(path)));
        seen.insert(format!("write {path}"), outcome(std::fs::write(path, b"x")));
    }
}

/// These are no way out and are real; that they answer is all there is to see.
fn clocks_and_random(seen: &mut Map<String, Value>) {
    seen.insert("monotonic".into(), json!(monotonic_clock::now() > 0 && monotonic_clock::resolution() > 0));
    seen.insert("wall".into(), json!(wall_clock::now().seconds > 0 && wall_clock::resolution().nanoseconds > 0));
    let differs = random::get_random_bytes(16) != random::get_random_bytes(16);
    seen.insert("random".into(), json!(differs && random::get_random_u64() != random::get_random_u64()));
    let _ =
        (insecure::get_insecure_random_bytes(16), insecure::get_insecure_random_u64(), insecure_seed::insecure_seed());
}

fn look_up(seen: &mut Map<String, Value>, network: &Network) {
    for name in ["localhost", "example.com", "127.0.0.1", "169.254.169.254"] {
        let result = ip_name_lookup::resolve_addresses(network, name).and_then(|stream| {
            stream.subscribe().block();
            stream.resolve_next_address()
        });
        seen.insert(format!("look up {name}"), outcome(result));
    }
}

fn loopback(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    match family {
        IpAddressFamily::Ipv4 => IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) }),
        IpAddressFamily::Ipv6 => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port,
            flow_info: 0,
            address: (0, 0, 0, 0, 0, 0, 0, 1),
            scope_id: 0,
        }),
    }
}

fn stream_socket(seen: &mut Map<String, Value>, network: &Network, family: IpAddressFamily, port: u16) {
    let name = |call: &str| format!("tcp {family:?} {call}");
    let create = || tcp_create_socket::create_tcp_socket(family);
    let socket = match create() {
        Ok(socket) => socket,
        Err(error) => {
            seen.insert(name("create"), json!(format!("denied: {error:?}")));
            return;
        }
    };
    seen.insert(name("create"), json!("ok"));
    let finish = |socket: &tcp::TcpSocket| {
        socket.subscribe().block();
        socket.finish_connect().map(drop)
    };
    let connect = socket.start_connect(network, loopback(family, port)).and_then(|()| finish(&socket));
    seen.insert(name("connect"), outcome(connect));
    if let Ok(socket) = create() {
        let bind = socket.start_bind(network, loopback(family, 0)).and_then(|()| socket.finish_bind());
        seen.insert(name("bind"), outcome(bind));
        seen.insert(name("listen"), outcome(socket.start_listen().and_then(|()| socket.finish_listen())));
        seen.insert(name("accept"), outcome(socket.accept().map(drop)));
        seen.insert(name("local-address"), outcome(socket.local_address()));
        seen.insert(name("remote-address"), outcome(socket.remote_address()));
        seen.insert(name("shutdown"), outcome(socket.shutdown(tcp::ShutdownType::Both)));
    }
}

fn datagram_socket(seen: &mut Map<String, Value>, network: &Network, family: IpAddressFamily, port: u16) {
    let name = |call: &str| format!("udp {family:?} {call}");
    let socket = match udp_create_socket::create_udp_socket(family) {
        Ok(socket) => socket,
        Err(error) => {
            seen.insert(name("create"), json!(format!("denied: {error:?}")));
            return;
        }
    };
    seen.insert(name("create"), json!("ok"));
    let bind = socket.start_bind(network, loopback(family, 0)).and_then(|()| socket.finish_bind());
    seen.insert(name("bind"), outcome(bind));
    let sent = socket.stream(None).and_then(|(_incoming, outgoing)| {
        outgoing.subscribe().block();
        outgoing.check_send()?;
        let remote_address = Some(loopback(family, port));
        outgoing.send(&[udp::OutgoingDatagram { data: b"inert".to_vec(), remote_address }])
    });
    seen.insert(name("send"), outcome(sent));
    seen.insert(name("local-address"), outcome(socket.local_address()));
}

world::export!(Step with_types_in world);
