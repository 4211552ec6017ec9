//! Tests that open no connection: verdicts, diagnostics, commands that only read, documents.
//!
//! One program for all of them: each program is linked with the whole library. `cargo xtask test --test golden` runs the
//! module `golden`.

mod check;
mod claims;
mod cli;
mod conformance;
mod diff;
mod differential;
mod docs;
mod expansions;
mod format;
mod fuzz_regression;
mod golden;
mod list;
mod r#match;
mod mistakes;
mod property;
mod registry;
mod services;
mod simulate;
mod source;
