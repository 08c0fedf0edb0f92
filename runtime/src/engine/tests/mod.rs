//! The engine against components written for the purpose, in WebAssembly text: small ones
//! that do exactly one thing, most of them hostile.

mod cache;
mod calls;
mod guest;
mod inert;
mod limits;
