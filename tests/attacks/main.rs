//! What untrusted steps and hostile servers try, each with real sockets. A test is named by its row of
//! README's table; it says what left the host, what reached the step, and what the audit keeps.

mod asks;
mod back;
mod carries;
mod forms;
mod http2;
mod places;
mod rebinding;
mod rig;
mod signed;
mod table;
#[path = "where.rs"]
mod where_to;
mod who;
