//! Steps in Python, through the built program and real servers.
//!
//! Building a component and compiling it take some ten seconds each, so all that need not be a
//! build of its own is one component, `steps/api`, which the tests run side by side.

mod api;
mod build;
mod example;
mod rig;
mod web;
