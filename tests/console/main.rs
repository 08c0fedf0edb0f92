//! The console, as people use it: in Chromium, on the built program, against real servers.

mod access;
mod account;
mod audit;
mod browser;
mod connect;
mod connect_link;
mod custom;
mod hostile;
mod house;
mod links;
mod live;
mod looks;
mod many;
mod members;
mod oidc;
mod passkeys;
mod problems;
mod routes;
mod runs;
mod secrets;
mod sessions;
mod sign_in;
mod sizes;
mod visit;
mod workflows;
