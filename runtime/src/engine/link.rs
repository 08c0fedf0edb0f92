//! The linker: what stands behind each interface of the allow-list, one by one.
//!
//! Nothing may be linked in here that `allow.rs` does not list: a test holds the two against
//! each other. `wasmtime_wasi::p2::add_to_linker_async` links whatever the next version has.

use std::sync::atomic::Ordering;

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime::{Engine, Result, StoreContextMut};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random, sockets};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_http::p2::bindings::http;
use wasmtime_wasi_http::p2::bindings::http::types::HostOutgoingRequest as _;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{FieldMap, WasiHttp, WasiHttpView as _};

use super::bindings::keyhole::step::{accounts, data, flow, signer, types};
use super::limits::{Limit, LimitHit};
use super::state::State;

/// Bytes of an HTTP method that nobody has heard of.
const METHOD_BYTES: usize = 64;
/// Bytes of an authority: the longest name that DNS has (255), a port, and user information.
const AUTHORITY_BYTES: usize = 4 * 1024;

/// The version that `wasmtime-wasi` gives its interfaces. A component's own, if it is
/// another of 0.2, is matched by the linker.
const WASI_VERSION: &str = "0.2.12";

struct Io;

impl wasmtime::component::HasData for Io {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}

/// Links the allow-list.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;

    types::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    accounts::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    flow::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    data::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;
    signer::add_to_linker::<_, HasSelf<State>>(l, |state| state)?;

    http::outgoing_handler::add_to_linker::<_, WasiHttp>(l, State::http)?;
    http::types::add_to_linker::<_, WasiHttp>(l, &http::types::LinkOptions::default(), State::http)?;

    io::error::add_to_linker::<_, Io>(l, |state: &mut State| &mut state.table)?;
    io::poll::add_to_linker::<_, Io>(l, |state: &mut State| &mut state.table)?;
    io::streams::add_to_linker::<_, Io>(l, |state: &mut State| &mut state.table)?;

    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<_, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<_, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(l, |state| state.ctx().ctx.random())?;

    cli::environment::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, State::cli)?;

    filesystem::types::add_to_linker::<_, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, State::filesystem)?;

    sockets::network::add_to_linker::<_, WasiSockets>(l, &sockets::network::LinkOptions::default(), State::sockets)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::tcp::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, State::sockets)?;

    tighten(l)?;
    Ok(linker)
}

/// Puts own functions in the place of those that keep or tell more than they should.
fn tighten(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);

    // The originals keep a method and an authority of any length, and as many requests as there are handles.
    let mut http = linker.instance(&format!("wasi:http/types@{WASI_VERSION}"))?;
    http.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: Store<'_>, (request, method): (Resource<HostOutgoingRequest>, http::types::Method)| {
            if matches!(&method, http::types::Method::Other(name) if name.len() > METHOD_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    http.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: Store<'_>, (request, authority): (Resource<HostOutgoingRequest>, Option<String>)| {
            if authority.as_ref().is_some_and(|authority| authority.len() > AUTHORITY_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, authority)?,))
        },
    )?;
    // Each may have as many bytes as a set may have, so there are fewer of them than handles.
    http.func_wrap("[constructor]fields", |mut store: Store<'_>, (): ()| {
        store.data_mut().one_more_header_set()?;
        Ok((http::types::HostFields::new(&mut store.data_mut().http())?,))
    })?;
    http.func_wrap("[static]fields.from-list", |mut store: Store<'_>, (list,): (Vec<(String, Vec<u8>)>,)| {
        store.data_mut().one_more_header_set()?;
        let mut http = store.data_mut().http();
        Ok((match http::types::HostFields::from_list(&mut http, list) {
            Ok(fields) => Ok(fields),
            Err(error) => Err(http::types::Host::convert_header_error(&mut http, error)?),
        },))
    })?;
    http.func_wrap("[method]fields.clone", |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
        store.data_mut().one_more_header_set()?;
        Ok((http::types::HostFields::clone(&mut store.data_mut().http(), fields)?,))
    })?;
    http.func_wrap("[constructor]outgoing-request", |mut store: Store<'_>, (headers,): (Resource<FieldMap>,)| {
        store.data_mut().one_more_request()?;
        Ok((http::types::HostOutgoingRequest::new(&mut store.data_mut().http(), headers)?,))
    })?;
    http.func_wrap("[constructor]outgoing-response", |mut store: Store<'_>, (headers,): (Resource<FieldMap>,)| {
        store.data_mut().one_more_request()?;
        Ok((http::types::HostOutgoingResponse::new(&mut store.data_mut().http(), headers)?,))
    })?;

    // The original prints the host's own view of an error, with a backtrace if it has one.
    linker.instance(&format!("wasi:io/error@{WASI_VERSION}"))?.func_wrap(
        "[method]error.to-debug-string",
        |mut store: Store<'_>, (error,): (Resource<IoError>,)| -> Result<(String,)> {
            Ok((format!("{:#}", store.data_mut().table.get(&error)?),))
        },
    )?;

    linker.allow_shadowing(false);
    Ok(())
}

type Store<'a> = StoreContextMut<'a, State>;

impl State {
    fn one_more_header_set(&mut self) -> Result<()> {
        self.broker.header_sets += 1;
        if self.broker.header_sets > self.limits.header_sets {
            return Err(LimitHit(Limit::HeaderSets).into());
        }
        Ok(())
    }

    fn one_more_request(&mut self) -> Result<()> {
        if self.broker.unanswered.fetch_add(1, Ordering::Relaxed) >= self.limits.unanswered {
            return Err(LimitHit(Limit::Unanswered).into());
        }
        Ok(())
    }
}
