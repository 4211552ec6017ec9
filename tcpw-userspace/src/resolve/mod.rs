//! Look-ups: names of addresses, members of netgroups, users and groups.
//!
//! In: addresses and names. Out: the results, verified as libwrap does.
//! Invariant: a name counts only if it resolves to the address.
//! Source: tcp_wrappers 7.6.q (Debian) `socket.c`; getnameinfo(3), getaddrinfo(3), innetgr(3).

mod accounts;
mod cache;
pub mod ident;
mod netgroup;
mod question;
mod system;
mod verify;

pub use accounts::{Accounts, KnownAccounts};
pub use cache::{CachedValue, ExpiringCache};
pub use netgroup::in_netgroup;
pub use question::{Found, Question, look_up};
pub use system::SystemResolver;
pub use verify::{Forward, Resolver, Verified, verified_name};
