//! One end of a connection against a host pattern.
//!
//! Source: tcp_wrappers 7.6.q (Debian) `hosts_access.c` `host_match`, `hostfile_match`, `masked_match`.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use super::{
    Unknown,
    index::{CandidatePatterns, Index},
    request::{AccessRequest, HostName, Lookup},
    subject::sanitise,
    text::{PARANOID, UNKNOWN, is_known, reduced},
};
use crate::parse::{
    number,
    rule::{HostPattern, PatternFile, TextPattern},
};

/// libwrap keeps the first 127 bytes of every string of a request.
const STRING: usize = 127;

/// A string as libwrap keeps it.
pub(super) fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(STRING)]
}

/// One end of a connection: its address, and its name once a pattern needs it.
pub struct Host<'a> {
    address: Cow<'a, [u8]>,
    /// The parsed address, of either family, once a pattern needs it.
    v4: OnceCell<Option<u32>>,
    /// The IPv4 address that its text is the usual spelling of, once that matters.
    spelled_v4: OnceCell<Option<u32>>,
    v6: OnceCell<Option<Ipv6Addr>>,
    name: OnceCell<Cow<'a, [u8]>>,
    is_client: bool,
    lookup: &'a dyn Lookup,
}

impl<'a> Host<'a> {
    /// The client of a request.
    pub fn client(request: &AccessRequest<'a>, lookup: &'a dyn Lookup) -> Self {
        Self::new(request.client_address, request.known.client_name, true, lookup)
    }

    /// The server's end of a request.
    pub fn server(request: &AccessRequest<'a>, lookup: &'a dyn Lookup) -> Self {
        Self::new(request.server_address, request.known.server_name, false, lookup)
    }

    fn new(
        address: Option<&'a str>,
        name: Option<&'a HostName>,
        is_client: bool,
        lookup: &'a dyn Lookup,
    ) -> Self {
        let address = address.filter(|address| !address.is_empty());
        let address = Cow::Borrowed(cut(address.map_or(UNKNOWN, str::as_bytes)));
        let name = name.map_or_else(OnceCell::new, |name| Cow::Borrowed(spelt(name)).into());
        Self {
            address,
            v4: OnceCell::new(),
            spelled_v4: OnceCell::new(),
            v6: OnceCell::new(),
            name,
            is_client,
            lookup,
        }
    }

    fn name(&self) -> &[u8] {
        self.name.get_or_init(|| {
            let name = if self.is_client { self.lookup.client_name() } else { self.lookup.server_name() };
            spelt(&name).to_vec().into()
        })
    }

    /// Its address, as text.
    pub(super) fn address(&self) -> &[u8] {
        &self.address
    }

    /// Its name, if that is already known.
    pub(super) fn known_name(&self) -> Option<&[u8]> {
        self.name.get().map(|name| &**name)
    }

    /// Its IPv4 address.
    pub(super) fn v4(&self) -> Option<u32> {
        *self.v4.get_or_init(|| match self.spelled_v4() {
            Some(address) => (address != u32::MAX).then_some(address),
            None => number::dot_quad(reduced(&self.address)).map(Ipv4Addr::to_bits),
        })
    }

    fn spelled_v4(&self) -> Option<u32> {
        *self.spelled_v4.get_or_init(|| {
            let text = std::str::from_utf8(reduced(&self.address)).ok()?;
            text.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits)
        })
    }

    /// Whether its address is in an IPv4 network of a plain rule; `None` where a pattern has to tell.
    pub(super) fn is_in(&self, net: Ipv4Addr, bits: u8) -> Option<bool> {
        let Some(address) = self.v4() else { return Some(false) };
        let host_bits = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
        // Only what is spelled as an address is spelled is compared as a number: then equal numbers are equal texts.
        self.spelled_v4().map(|_| (address ^ net.to_bits()) & !host_bits == 0)
    }

    /// Its IPv6 address.
    pub(super) fn v6(&self) -> Option<Ipv6Addr> {
        *self.v6.get_or_init(|| number::ipv6(reduced(&self.address)).map(|(address, _)| address))
    }

    fn address_matches(&self, pattern: &TextPattern) -> bool {
        if let TextPattern::Bracketed(address) = pattern {
            address.is_some() && self.v6() == *address
        } else {
            pattern.matches(&self.address)
        }
    }

    fn is_name_known(&self) -> bool {
        is_known(self.name())
    }

    /// Its name if that is already known, else its address.
    pub(super) fn info(&self) -> &[u8] {
        self.name.get().filter(|name| is_known(name)).unwrap_or(&self.address)
    }

    /// Its address, sanitised from now on.
    pub(super) fn sanitised_address(&mut self) -> &[u8] {
        sanitise(&mut self.address);
        (self.v4, self.spelled_v4, self.v6) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        &self.address
    }

    /// Its name, looked up if need be, sanitised from now on.
    pub(super) fn sanitised_name(&mut self) -> &[u8] {
        self.name();
        if let Some(name) = self.name.get_mut() {
            sanitise(name);
        }
        self.name()
    }

    /// `info`, sanitised from now on.
    pub(super) fn sanitised_info(&mut self) -> &[u8] {
        if self.name.get().is_some_and(|name| is_known(name)) {
            self.sanitised_name()
        } else {
            self.sanitised_address()
        }
    }
}

/// A name as libwrap keeps it.
fn spelt(name: &HostName) -> &[u8] {
    match name {
        HostName::Known(name) if name.is_empty() => UNKNOWN,
        HostName::Known(name) => cut(name),
        HostName::Unknown => UNKNOWN,
        HostName::Paranoid => PARANOID,
    }
}

/// Whether a pattern matches an address that has no known name and is in no netgroup.
pub fn host_matches_unnamed(
    pattern: &HostPattern,
    address: &str,
    files: &BTreeMap<PathBuf, PatternFile>,
) -> bool {
    host_matches(pattern, &Host::new(Some(address), None, true, &Unknown), files, &mut |_, _| {})
}

/// Whether a pattern matches a host; `unreadable` is called for files that cannot be read.
///
/// A file is read once: libwrap would crash on one that includes itself.
pub fn host_matches(
    pattern: &HostPattern,
    host: &Host<'_>,
    files: &BTreeMap<PathBuf, PatternFile>,
    unreadable: &mut dyn FnMut(&Path, &str),
) -> bool {
    host_matches_by(pattern, host, files, &Index::default(), unreadable)
}

/// As [`host_matches`], faster for long files that are in `index`.
pub(super) fn host_matches_by(
    pattern: &HostPattern,
    host: &Host<'_>,
    files: &BTreeMap<PathBuf, PatternFile>,
    index: &Index,
    unreadable: &mut dyn FnMut(&Path, &str),
) -> bool {
    let HostPattern::File(path) = pattern else { return matches_one(pattern, host) };
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    let mut open = Vec::new();
    let mut next = Some(path);
    loop {
        if let Some(path) = next.take()
            && seen.insert(path)
            && let Some(file) = files.get(path)
        {
            if let Some(why) = &file.unreadable {
                unreadable(path, why);
            }
            open.push(CandidatePatterns::new(path, file, index));
        }
        let Some(patterns) = open.last_mut() else { return false };
        match patterns.next(host) {
            None => {
                open.pop();
            }
            Some(HostPattern::File(path)) => next = Some(path),
            Some(pattern) if matches_one(pattern, host) => return true,
            Some(_) => {}
        }
    }
}

fn matches_one(pattern: &HostPattern, host: &Host<'_>) -> bool {
    match pattern {
        HostPattern::Netgroup(group) => host.lookup.in_netgroup(group, Some(host.name()), None),
        HostPattern::Known => !host.address.eq_ignore_ascii_case(UNKNOWN) && host.is_name_known(),
        HostPattern::Local => host.is_name_known() && !host.name().contains(&b'.'),
        HostPattern::NetV4 { net, mask } => {
            host.v4().is_some_and(|address| address & mask.to_bits() == net.to_bits())
        }
        HostPattern::NetV6 { net, prefix_bits } => {
            let mask = u128::MAX.checked_shl(128 - u32::from(*prefix_bits)).unwrap_or(0);
            host.v6().is_some_and(|address| (address.to_bits() ^ net.to_bits()) & mask == 0)
        }
        HostPattern::Never | HostPattern::File(_) => false,
        HostPattern::Text { pattern, numeric } => {
            host.address_matches(pattern) || (!numeric && pattern.matches(host.name()))
        }
    }
}
