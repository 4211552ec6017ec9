//! Look-ups by a process without rights: what name servers answer is parsed there, and nowhere else.
//!
//! In: questions. Out: answers.
//! Invariant: the process has given up root, and every way to another program, before it reads the first question;
//! when it ends, each of its open questions gets the answer that it cannot be looked up, and another is started.

mod client;
mod serve;
mod wire;

pub use client::ResolverClient;
pub use serve::main;
