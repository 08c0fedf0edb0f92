//! The world `keyhole:step/step` as Rust: generated from `wit/`, and the only
//! place in the SDK that touches the component ABI. Nothing in here is public
//! API: step authors see the wrappers, so that the contract can grow beside them.
#![allow(missing_docs, unsafe_code, clippy::all)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "step",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_step",
    default_bindings_module: "keyhole_sdk::__private::bindings",
});
