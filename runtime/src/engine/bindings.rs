//! Made from wit/step.wit: the traits that the host implements, and typed calls of a step's exports.
//!
//! `Step::add_to_linker` must not be used: it links what it likes. `link.rs` links by the allow-list.

#![allow(missing_docs)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "keyhole:step/step",
    imports: {
        "keyhole:step/accounts@0.1.0.linked": async | trappable,
        "keyhole:step/signer@0.1.0.hmac": async | trappable,
        "keyhole:step/data@0.1.0.[method]store.get": async | trappable,
        "keyhole:step/data@0.1.0.[method]store.set": async | trappable,
        "keyhole:step/data@0.1.0.[method]store.delete": async | trappable,
        "keyhole:step/data@0.1.0.[method]store.increment": async | trappable,
        "keyhole:step/data@0.1.0.[method]store.entries": async | trappable,
        "keyhole:step/data@0.1.0.[method]store.clear": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:random": wasmtime_wasi::p2::bindings::random,
        "wasi:http": wasmtime_wasi_http::p2::bindings::http,
        "keyhole:step/accounts.account": super::host::Injected,
        "keyhole:step/data.store": keyhole_host_api::data::DataStore,
    },
    require_store_data_send: true,
});
