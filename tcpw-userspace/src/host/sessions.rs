//! Who works on this host from elsewhere: the clients of the sessions that there are.
//!
//! In: utmp, and the environment that sshd gives a session. Out: addresses, each with what it was found by.
//! Source: utmp(5), getutxent(3), ssh(1) SSH_CONNECTION.

use std::{
    ffi::CStr,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A session from another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The client.
    pub client: IpAddr,
    /// Whose it is, or how it was found.
    pub of: String,
}

/// The sessions that there are; for a process with one thread. A host without utmp tells of none but its caller's.
pub fn sessions() -> Vec<Session> {
    let own = std::env::var("SSH_CONNECTION").ok().and_then(|text| of_ssh(&text));
    let own = own.map(|client| Session { client, of: "this session".into() });
    own.into_iter().chain(of_utmp()).collect()
}

/// `CLIENT PORT SERVER PORT`.
fn of_ssh(text: &str) -> Option<IpAddr> {
    let client = text.split_whitespace().next()?;
    // A link-local address has its interface behind it.
    let client = client.split('%').next()?;
    client.parse::<IpAddr>().ok().map(|client| client.to_canonical())
}

fn of_utmp() -> Vec<Session> {
    let mut found = Vec::new();
    // SAFETY: no other thread uses these functions; an entry is read before the next one is asked for.
    unsafe { libc::setutxent() };
    // SAFETY: as above; the pointer is null or to an entry that is valid until the next call.
    while let Some(entry) = unsafe { libc::getutxent().as_ref() } {
        let client = address(entry.ut_addr_v6).filter(|_| entry.ut_type == libc::USER_PROCESS);
        found.extend(client.map(|client| Session { client, of: text(&entry.ut_user) }));
    }
    // SAFETY: as above.
    unsafe { libc::endutxent() };
    found
}

/// The text of a field that need not have an end.
fn text(field: &[libc::c_char]) -> String {
    let mut bytes: Vec<u8> = field.iter().map(|byte| byte.to_ne_bytes()[0]).collect();
    bytes.push(0);
    let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

/// Network order; of an IPv4 client only the first word is used; 0: it is local.
fn address(words: [i32; 4]) -> Option<IpAddr> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    match words {
        [0, 0, 0, 0] => None,
        [first, 0, 0, 0] => Some(IpAddr::V4(Ipv4Addr::from(first.to_ne_bytes()))),
        _ => Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read_as_sshd_writes_them() {
        let of = |text: &str| of_ssh(text).map(|client| client.to_string());
        assert_eq!(of("192.0.2.7 50000 192.0.2.1 22").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("::ffff:192.0.2.7 50000 ::ffff:192.0.2.1 22").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("fe80::7%eth0 50000 fe80::1%eth0 22").as_deref(), Some("fe80::7"));
        assert_eq!((of(""), of("UNKNOWN 0 UNKNOWN 0")), (None, None));
    }

    #[test]
    fn addresses_of_utmp_are_in_network_order() {
        let v4 = i32::from_ne_bytes([192, 0, 2, 7]);
        assert_eq!(address([v4, 0, 0, 0]), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(address([0; 4]), None);
        let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let words = v6.octets();
        let words: Vec<i32> =
            words.chunks(4).map(|word| i32::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(address(words.try_into().unwrap()), Some(IpAddr::V6(v6)));
    }
}
