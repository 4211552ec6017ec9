//! Text to rules.
//!
//! In: the text of both tables and of the pattern files they name. Out:
//! [`Tables`](rule::Tables) and every diagnostic. No I/O.
#![forbid(unsafe_code)]

pub mod rule;
pub mod text;
