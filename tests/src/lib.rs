//! What the end-to-end tests share: the built program, components, and real servers over
//! TLS with a certificate authority of their own.

pub mod aws;
pub mod host;
pub mod oidc;
pub mod program;
pub mod served;
pub mod server;
pub mod workspace;
