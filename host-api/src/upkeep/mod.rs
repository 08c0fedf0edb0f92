//! What an operator does with the store as a whole: exchange the master key, see that everything
//! opens, take a copy and put it back. All of it while others work on the same store.

pub mod backup;
mod keys;

pub use keys::{Rotated, check, forget, rotate};
