//! The same questions to the real libwrap and to tcpw.

mod case;

pub use case::{Answer, Answered, Case};
