//! The verified name of an address.
//!
//! The owner of an address controls its PTR record; the owner of a name controls its addresses. A name
//! counts only if both agree.
//! Source: tcp_wrappers 7.6.q (Debian) `socket.c` `sock_hostname`.

use std::net::IpAddr;

use crate::evaluate::{numeric_host, quoted_bytes, request::HostName};

/// libwrap keeps the first 127 bytes of a name, and verifies what it kept.
const NAME_BYTES: usize = 127;

/// The system's resolver.
pub trait Resolver {
    /// getnameinfo(3): the name of an address, if it has one.
    fn reverse(&self, address: IpAddr) -> Option<Vec<u8>>;

    /// getaddrinfo(3), AI_NUMERICHOST: is this a way to write an address of the family of `like`.
    fn is_numeric(&self, name: &[u8], like: IpAddr) -> bool;

    /// getaddrinfo(3): the addresses of a name, of the family of `like`.
    fn forward(&self, name: &[u8], like: IpAddr) -> Option<Forward>;
}

/// The result of resolving a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// The canonical name.
    pub canonical: Option<Vec<u8>>,
    /// Addresses, in the resolver's order.
    pub addresses: Vec<IpAddr>,
}

/// A name, and why it was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The name.
    pub name: HostName,
    /// libwrap's warning, in its words; `None` if the name was verified or there is none.
    pub warning: Option<String>,
}

/// The name of an address, verified as libwrap does.
pub fn verified_name(address: IpAddr, resolver: &dyn Resolver) -> Verified {
    let address = unmapped(address);
    let Some(mut name) = resolver.reverse(address).filter(|name| !name.is_empty()) else {
        return Verified { name: HostName::Unknown, warning: None };
    };
    name.truncate(NAME_BYTES);
    match objection(address, &name, resolver) {
        None => Verified { name: HostName::Known(name.into()), warning: None },
        Some(text) => Verified { name: HostName::Paranoid, warning: Some(format!("warning: {text}")) },
    }
}

/// Why the name was not verified.
fn objection(address: IpAddr, name: &[u8], resolver: &dyn Resolver) -> Option<String> {
    let shown = quoted_bytes(name);
    if resolver.is_numeric(name, address) {
        return Some(format!("host name/name mismatch: reverse lookup results in non-FQDN {shown}"));
    }
    let Some(forward) = resolver.forward(name, address) else {
        let family = if address.is_ipv4() { "AF_INET" } else { "AF_INET6" };
        return Some(format!("can't verify hostname: getaddrinfo({shown}, {family}) failed"));
    };
    let canonical = forward.canonical.unwrap_or_default();
    let kept = quoted_bytes(&canonical[..canonical.len().min(NAME_BYTES)]);
    if !name.eq_ignore_ascii_case(&canonical) && !name.eq_ignore_ascii_case(b"localhost") {
        return Some(format!("host name/name mismatch: {shown} != {kept}"));
    }
    if !forward.addresses.contains(&address) {
        return Some(format!("host name/address mismatch: {} != {kept}", numeric_host(address)));
    }
    None
}

/// A v4-mapped address is an IPv4 address.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One name, and its addresses.
    struct OneNameResolver {
        name: Option<Vec<u8>>,
        numeric: bool,
        forward: Option<Forward>,
    }

    impl Resolver for OneNameResolver {
        fn reverse(&self, address: IpAddr) -> Option<Vec<u8>> {
            assert!(!matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()), "asked as IPv4");
            self.name.clone()
        }

        fn is_numeric(&self, _: &[u8], _: IpAddr) -> bool {
            self.numeric
        }

        fn forward(&self, name: &[u8], _: IpAddr) -> Option<Forward> {
            assert!(name.len() <= NAME_BYTES, "cut before it is verified");
            self.forward.clone()
        }
    }

    fn resolver(name: &str, canonical: &str, addresses: &[&str]) -> OneNameResolver {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let forward = Forward { canonical: Some(canonical.into()), addresses };
        OneNameResolver { name: Some(name.into()), numeric: false, forward: Some(forward) }
    }

    fn ask(address: &str, resolver: &OneNameResolver) -> (HostName, Option<String>) {
        let Verified { name, warning } = verified_name(address.parse().unwrap(), resolver);
        (name, warning)
    }

    fn known(name: &str) -> (HostName, Option<String>) {
        (HostName::Known(name.as_bytes().into()), None)
    }

    fn paranoid(warning: &str) -> (HostName, Option<String>) {
        (HostName::Paranoid, Some(format!("warning: {warning}")))
    }

    macro_rules! verifies {
        ($($name:ident: $address:expr, $resolver:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(ask($address, &$resolver), $want); })*
        };
    }

    verifies! {
        good: "192.0.2.1", resolver("a.test", "a.test", &["192.0.2.9", "192.0.2.1"]) => known("a.test");
        case_does_not_count: "192.0.2.1", resolver("A.test", "a.Test", &["192.0.2.1"]) => known("A.test");
        no_name: "192.0.2.1", OneNameResolver { name: None, numeric: false, forward: None } => (HostName::Unknown, None);
        empty_name: "192.0.2.1", resolver("", "", &["192.0.2.1"]) => (HostName::Unknown, None);
        mapped_is_ipv4: "::ffff:192.0.2.1", resolver("a.test", "a.test", &["192.0.2.1"]) => known("a.test");
        ipv6: "2001:db8::1", resolver("a.test", "a.test", &["2001:db8::1"]) => known("a.test");
        another_address: "192.0.2.1", resolver("a.test", "a.test", &["192.0.2.2"])
            => paranoid("host name/address mismatch: 192.0.2.1 != a.test");
        alias: "192.0.2.1", resolver("alias.test", "a.test", &["192.0.2.1"])
            => paranoid("host name/name mismatch: alias.test != a.test");
        localhost_may_have_another_name: "127.0.0.1", resolver("localhost", "localhost.localdomain", &["127.0.0.1"])
            => known("localhost");
        localhost_elsewhere: "192.0.2.1", resolver("localhost", "localhost", &["127.0.0.1"])
            => paranoid("host name/address mismatch: 192.0.2.1 != localhost");
        leads_nowhere: "2001:db8::1", OneNameResolver { forward: None, ..resolver("a.test", "", &[]) }
            => paranoid("can't verify hostname: getaddrinfo(a.test, AF_INET6) failed");
        looks_like_an_address: "192.0.2.1", OneNameResolver { numeric: true, ..resolver("192.0.2.1", "", &["192.0.2.1"]) }
            => paranoid("host name/name mismatch: reverse lookup results in non-FQDN 192.0.2.1");
        no_canonical_name: "192.0.2.1", OneNameResolver {
            forward: Some(Forward { canonical: None, addresses: vec!["192.0.2.1".parse().unwrap()] }),
            ..resolver("a.test", "", &[])
        } => paranoid("host name/name mismatch: a.test != ");
    }

    #[test]
    fn long_name_is_verified_as_it_was_cut() {
        let long = format!("{}.test", "a".repeat(125));
        let (name, warning) = ask("192.0.2.1", &resolver(&long, &long, &["192.0.2.1"]));
        assert_eq!(name, HostName::Paranoid);
        let kept = &long[..127];
        assert_eq!(warning, Some(format!("warning: host name/name mismatch: {kept} != {kept}")));
    }
}
