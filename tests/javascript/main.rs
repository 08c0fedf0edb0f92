//! Steps in JavaScript and TypeScript, through the built program and real servers.

mod api;
mod build;
mod bytes;
mod examples;
mod flow;
mod house;
mod libraries;
mod node;
mod packages;
mod placing;
mod signed;
