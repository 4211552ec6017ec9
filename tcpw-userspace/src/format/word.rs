//! The spelling of one word: keywords in upper case, everything else as it is.
//!
//! Source: tcp_wrappers 7.6.q `hosts_access.c`; what is a keyword depends on where it stands.

use crate::parse::{list::is_except, pattern::split_end};

/// Keywords of a host pattern.
const HOST: &[&str] = &["ALL", "LOCAL", "KNOWN", "UNKNOWN", "PARANOID"];

/// Keywords of a user.
const USER: &[&str] = &["ALL", "KNOWN", "UNKNOWN"];

/// Keywords of a daemon; LOCAL and the like are names there.
const DAEMON: &[&str] = &["ALL", "KNOWN"];

/// A token of a daemon list.
pub(super) fn daemon(token: &[u8]) -> Vec<u8> {
    if is_except(token) {
        return b"EXCEPT".to_vec();
    }
    match split_end(token) {
        (name, None) => keyword(name, DAEMON),
        (name, Some(server)) => ends(&keyword(name, DAEMON), &keyword(server, HOST)),
    }
}

/// A token of a client list.
pub(super) fn client(token: &[u8]) -> Vec<u8> {
    if is_except(token) {
        return b"EXCEPT".to_vec();
    }
    match split_end(token) {
        (host, None) => keyword(host, HOST),
        (user, Some(host)) => ends(&keyword(user, USER), &keyword(host, HOST)),
    }
}

fn ends(left: &[u8], right: &[u8]) -> Vec<u8> {
    [left, b"@", right].concat()
}

fn keyword(word: &[u8], keywords: &[&str]) -> Vec<u8> {
    let is_keyword = keywords.iter().any(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()));
    if is_keyword { word.to_ascii_uppercase() } else { word.to_vec() }
}
