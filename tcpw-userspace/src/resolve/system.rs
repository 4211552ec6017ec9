//! The system's resolver.
//!
//! It uses the C library's calls, like libwrap, so /etc/nsswitch.conf, /etc/hosts and /etc/resolv.conf apply in
//! the same way. Each call may block as long as the C library does.
//!
//! Not the dns-lookup crate: its names are `&str` and `String`. A PTR record may hold any bytes, and libwrap
//! compares them as bytes.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, c_char, c_int},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

use super::verify::{Forward, Resolver};

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl SystemResolver {
    /// Every address of a name, of both families, each once; none if there is no such name.
    pub fn addresses(self, name: &[u8]) -> Vec<IpAddr> {
        let mut addresses = lookup(name, libc::AF_UNSPEC, 0).unwrap_or_default().addresses;
        let mut seen = BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses
    }

    /// The address of a text that is one, in any spelling the C library takes (`127.1`).
    pub fn numeric(self, text: &[u8]) -> Option<IpAddr> {
        lookup(text, libc::AF_UNSPEC, libc::AI_NUMERICHOST)?.addresses.first().copied()
    }
}

impl Resolver for SystemResolver {
    fn reverse(&self, address: IpAddr) -> Option<Vec<u8>> {
        match address {
            IpAddr::V4(v4) => name_of(&sockaddr_v4(v4)),
            IpAddr::V6(v6) => name_of(&sockaddr_v6(v6)),
        }
    }

    fn is_numeric(&self, name: &[u8], like: IpAddr) -> bool {
        lookup(name, family(like), libc::AI_NUMERICHOST).is_some()
    }

    fn forward(&self, name: &[u8], like: IpAddr) -> Option<Forward> {
        lookup(name, family(like), libc::AI_CANONNAME)
    }
}

/// AF_INET and AF_INET6, as socket addresses have them.
const INET: libc::sa_family_t = 2;
const INET6: libc::sa_family_t = 10;
const _: () = assert!(libc::AF_INET == 2 && libc::AF_INET6 == 10);

fn family(address: IpAddr) -> c_int {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn sockaddr_v4(address: Ipv4Addr) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: INET,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    }
}

fn sockaddr_v6(address: Ipv6Addr) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: INET6,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: address.octets() },
        sin6_scope_id: 0,
    }
}

/// getnameinfo(3) of a `sockaddr_in` or `sockaddr_in6`; a name only, never the address as text.
fn name_of<S>(sockaddr: &S) -> Option<Vec<u8>> {
    // NI_MAXHOST of glibc's netdb.h.
    let mut host: [c_char; 1025] = [0; 1025];
    let length = libc::socklen_t::try_from(mem::size_of::<S>()).ok()?;
    let room = libc::socklen_t::try_from(host.len()).ok()?;
    // SAFETY: the address is a whole socket address of the length given, the buffer has the room
    // given, and no buffer for the service is asked for.
    let result = unsafe {
        libc::getnameinfo(
            ptr::from_ref(sockaddr).cast(),
            length,
            host.as_mut_ptr(),
            room,
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    // SAFETY: on success the buffer holds a string and its NUL; before, it was all NUL.
    (result == 0).then(|| unsafe { CStr::from_ptr(host.as_ptr()) }.to_bytes().to_vec())
}

/// getaddrinfo(3).
fn lookup(name: &[u8], family: c_int, flags: c_int) -> Option<Forward> {
    let name = CString::new(name).ok()?;
    // SAFETY: all zero is a valid addrinfo: no flags, any protocol, null pointers.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = family;
    hints.ai_socktype = libc::SOCK_STREAM;
    hints.ai_flags = flags;
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: the name ends in NUL, the hints are initialised, `list` takes the result.
    let result = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    if result != 0 {
        return None;
    }
    let mut found = Forward::default();
    let mut next = list;
    // SAFETY: every node of the list is valid until it is freed below.
    while let Some(node) = unsafe { next.as_ref() } {
        if !node.ai_canonname.is_null() {
            // SAFETY: a canonical name is a string that ends in NUL.
            found.canonical = Some(unsafe { CStr::from_ptr(node.ai_canonname) }.to_bytes().to_vec());
        }
        found.addresses.extend(address_of(node));
        next = node.ai_next;
    }
    // SAFETY: the list is getaddrinfo's own, and is not used any more.
    unsafe { libc::freeaddrinfo(list) };
    Some(found)
}

fn address_of(node: &libc::addrinfo) -> Option<IpAddr> {
    let length = usize::try_from(node.ai_addrlen).ok()?;
    match node.ai_family {
        libc::AF_INET if length >= mem::size_of::<libc::sockaddr_in>() => {
            // SAFETY: of this family and length it is a sockaddr_in, wherever it is aligned.
            let address = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(address.sin_addr.s_addr.to_ne_bytes().into()))
        }
        libc::AF_INET6 if length >= mem::size_of::<libc::sockaddr_in6>() => {
            // SAFETY: of this family and length it is a sockaddr_in6, wherever it is aligned.
            let address = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(address.sin6_addr.s6_addr.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_texts_are_addresses() {
        let numeric = |text: &str| SystemResolver.numeric(text.as_bytes());
        assert_eq!(numeric("192.0.2.1"), "192.0.2.1".parse().ok());
        assert_eq!(numeric("127.1"), "127.0.0.1".parse().ok());
        assert_eq!(numeric("2001:DB8::1"), "2001:db8::1".parse().ok());
        assert_eq!(numeric("localhost"), None);
        assert_eq!(numeric("a\0b"), None);
        let v4 = "192.0.2.1".parse().unwrap();
        assert!(SystemResolver.is_numeric(b"0x7f.1", v4) && !SystemResolver.is_numeric(b"::1", v4));
    }
}
