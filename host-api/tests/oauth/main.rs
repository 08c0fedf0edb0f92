//! OAuth against a real authorization server (npm `oidc-provider`, in `tests/oidc`), which
//! rotates refresh tokens, notices when one is used twice, and wants PKCE.

mod connect;
mod crash;
mod house;
mod keep;
mod keys;
mod oauth1;
mod server;
mod signed;
