//! What goes wrong on the host's side: one clear error each, and nothing damaged. When the cause
//! is repaired, everything works and every account is still there.

mod audit;
mod disk;
mod kill;
mod master_key;
mod rig;
mod side_by_side;
mod store_file;
