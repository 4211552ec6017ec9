//! Host patterns of every kind; addresses and networks have a file of their own.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Author, taste::HostKind};

const WILDCARDS: &[&str] = &[
    "ALL",
    "ALL",
    "ALL",
    "KNOWN",
    "UNKNOWN",
    "LOCAL",
    "PARANOID",
    "all",
    "Known",
    "unknown",
    "local",
    "paranoid",
    "ALL.",
    ".ALL",
    "EXCEPT",
    "KNOWN,UNKNOWN",
    "FAIL",
];

const NETGROUPS: &[&str] = &["@trusted", "@", "@a@b", "@ALL", "@tr*", "@/x", "@10."];

const ODD: &[&str] = &[
    "0.0.0.0/0",
    "0.0.0.0/0.0.0.0",
    "::1",
    "2001:db8::/32",
    "[::1",
    "::1]",
    "[]",
    "[]/0",
    "[",
    "]",
    "[::]/0",
    "[::]/",
    "[::]/x",
    "[::ffff:1.2.3.4]",
    "[::ffff:0:0]/96",
    "[::1/128]",
    "[1.2.3.4]",
    "[1.2.3.4]/24",
    "[10.0.0.0]/8",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.4/",
    "/",
    "//",
    "/32",
    "1/1",
    "1.2.3.4/24/24",
    "1.2.3.4/+24",
    "1.2.3.4/ 24",
    "1.2.3.4/-1",
    "1.2.3.4/33",
    "10.0.0.0/0x8",
    "10.0.0.0/010",
    "10.0.0.0/255.0.0.0",
    "10.0.0.0/255.0.0.00",
    "10.0.0.0/0xff.0.0.0",
    "10.0.0.0/255.0.0.0.0",
    "10.0.0.0/255.0.0",
    "10./8",
    "10/8",
    "*/0",
    "ALL/0",
    "0x0a.0.0.0/8",
    "012.0.0.0/8",
    "167772160/8",
    "10.0.0/8",
    ".",
    "..",
    "...",
    "*",
    "?",
    "**",
    "*?*",
    "a**",
    "#",
    "#x",
    "\\",
    "%",
    "-",
    "'ALL'",
    "\"ALL\"",
    "!ALL",
    "ALL;",
    "(ALL)",
    "255.255.255.255",
    "255.255.255.255/32",
    "0",
    "10",
    "localhost",
    "[fe80::1%lo]",
    "[fe80::1%lo]/64",
    "[fe80::1%nosuch]",
    "[fe80::1%1]",
    "[fe80::%nosuch]/10",
    "[2001:db8::1%lo]",
    "[2001:db8::1%1]",
    "[::1%lo]",
    "[::]%lo",
    "[fe80::1%]",
    "[fe80::1%2x]",
    "[ff02::1%lo]",
    "\u{feff}ALL",
    "ALL\u{a0}",
    "é",
    "[x::]/abc",
    "[::1]/129",
    "[::1]/-1",
    "[::1]/128x",
    "[::1]/ffff::",
    "[[::1]]",
    "[::1]x",
    "x[::1]",
    "[::1].",
    ".[::1]",
    "0.0.0.0/255.255.255.0",
    "10.0.0.0/255.255.255.255",
    "1.2.3.4/255.255.255.254",
    "4294967295",
    "1.2.3.4/0.0.0.0",
    "00.0.0.0/0.0.0.0",
    "0.0.0.0/00",
    "[::]/00",
    "[::]/+0",
    "[::]/ 0",
    "256.0.0.0/8",
    "10.0.0.256/24",
    "0x.0.0.0/8",
];

impl Author<'_> {
    /// A host pattern; what it matches, and what is next to it, goes to the scene.
    pub(super) fn host(&mut self) -> String {
        let kind = self.random.weighted(&self.taste.hosts);
        self.host_of(kind)
    }

    /// [`Self::host`], but no file.
    pub(super) fn host_but_file(&mut self) -> String {
        let kind = self.random.weighted(&self.taste.hosts);
        self.host_of(if kind == HostKind::File { HostKind::V4 } else { kind })
    }

    fn host_of(&mut self, kind: HostKind) -> String {
        match kind {
            HostKind::V4 => self.v4(),
            HostKind::V6 => self.v6(),
            HostKind::Wildcard if self.random.chance(45) => "ALL".into(),
            HostKind::Wildcard => (*self.random.pick(WILDCARDS)).into(),
            HostKind::Name => self.name_pattern(),
            HostKind::Glob => self.glob(),
            HostKind::File => self.file(),
            HostKind::Netgroup => (*self.random.pick(NETGROUPS)).into(),
            HostKind::Odd => (*self.random.pick(ODD)).into(),
        }
    }

    fn name_pattern(&mut self) -> String {
        let name = self.name();
        self.world.names.push(name.clone());
        let (host, domain) = name.split_once('.').unwrap_or((&name, "example.com"));
        let (host, domain) = (host.to_owned(), domain.to_owned());
        match self.random.below(9) {
            0..=2 => name,
            3..=5 => {
                self.world.names.push(domain.clone());
                self.world.names.push(format!("deep.{name}"));
                self.world.names.push(format!("x{domain}"));
                format!(".{domain}")
            }
            6 => format!("{host}."),
            7 => host,
            _ => name.to_uppercase(),
        }
    }

    /// A host name.
    pub(super) fn name(&mut self) -> String {
        const HOSTS: &[&str] =
            &["www", "mail", "a", "gw-1", "ns1", "bad", "host_2", "1", "10", "WWW", "unknown", "all"];
        const DOMAINS: &[&str] =
            &["example.com", "corp.example.org", "evil.test", "test", "example.com.", "COM", "in-addr.arpa"];
        let host = *self.random.pick(HOSTS);
        match self.random.below(8) {
            0 => host.to_owned(),
            1 => {
                // Who names himself after an address.
                let address = Ipv4Addr::from(self.world.v4(self.random));
                format!("{address}.{}", self.random.pick(DOMAINS))
            }
            _ => format!("{host}.{}", self.random.pick(DOMAINS)),
        }
    }

    fn glob(&mut self) -> String {
        let example = match self.random.below(4) {
            0 | 1 => Ipv4Addr::from(self.world.v4(self.random)).to_string(),
            2 => Ipv6Addr::from(self.world.v6(self.random)).to_string(),
            _ => self.name(),
        };
        if example.parse::<std::net::IpAddr>().is_ok() {
            self.world.addresses.push(example.clone());
            self.world.names.push(format!("{example}.evil.test"));
        } else {
            self.world.names.push(example.clone());
        }
        self.glob_of(&example)
    }

    /// A glob that matches a text, mostly.
    pub(super) fn glob_of(&mut self, text: &str) -> String {
        let mut glob: Vec<char> = text.chars().collect();
        for _ in 0..self.random.between(1, 3) {
            let at = self.random.below(glob.len() + 1);
            let end = (at + self.random.below(4)).min(glob.len());
            match self.random.below(5) {
                0 => drop(glob.splice(at..end, ['*', '*'])),
                1 | 2 if at < glob.len() => glob[at] = '?',
                _ => drop(glob.splice(at..end, ['*'])),
            }
            if glob.is_empty() {
                break;
            }
        }
        if self.random.chance(40) {
            let keep = self.random.between(1, glob.len().max(1)).min(glob.len());
            glob.truncate(keep);
            glob.push('*');
        }
        glob.into_iter().collect()
    }
}
