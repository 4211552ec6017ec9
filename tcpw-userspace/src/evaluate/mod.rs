//! The reference: rules and a request to libwrap's verdict.
//!
//! In: parsed tables and one request. Out: a [`Judgement`]. No I/O: names, users
//! and netgroups come through [`Lookup`].
//! Source: tcp_wrappers 7.6.q `hosts_access.c`, `hosts_access()`.
#![forbid(unsafe_code)]

pub mod request;
