//! Tables over the whole language, with few addresses, so that regions touch and overlap.

use std::net::IpAddr;

use proptest::{collection::vec, prelude::*, sample::select};
use tcpw_userspace::names::NamesSet;

const DAEMONS: &[&str] = &[
    "sshd",
    "SSHD",
    "in.telnetd",
    "in.",
    ".telnetd",
    "s*d",
    "nginx",
    "ALL",
    "KNOWN",
    "UNKNOWN",
    "*",
    "22",
    "+7001",
    "99999",
    "sshd@1.2.3.1",
    "ALL@10.",
    "nginx@[2001:db8::]/32",
    "sshd@",
    "22@ALL",
    "@sshd",
    "EXCEPT",
    "except",
    "sshd@/nowhere",
    "ALL@UNKNOWN",
    "in.telnetd@KNOWN",
    "s*@10.0.0.0/255.0.0.255",
];

/// Client tokens that no address is needed for.
const WORDS: &[&str] = &[
    "ALL",
    "all",
    "KNOWN",
    "UNKNOWN",
    "LOCAL",
    "PARANOID",
    "EXCEPT",
    "EXCEPT",
    "@trusted",
    "/nowhere",
    "unk*",
    "u*n",
    "unknown",
    ".example.com",
    "www.",
    "*.example.org",
    "ALL@10.",
    "root@ALL",
    "KNOWN@10.",
    "UNKNOWN@ALL",
    "u*@[::]/0",
    "10.*",
    "10.?.1.2",
    "*.2",
    ".1.2",
    "1?.2.3.4",
    "3ffe*",
    "fe80*",
    "*1",
    "a**",
    "10",
    "10.0.0",
    "[::]/0",
    "[::]/",
    "[::1/128]",
    "[::ffff:1.2.3.4]",
    "010.0.0.0/8",
    "0.0.0.0/0",
    "0.0.0.0/0.0.0.0",
    "10.0.0.1/255.0.0.1",
    "10.0.0.0/255.255.255.255",
    "1.2.3.4/24x",
    "10.1.2.3/16",
    "255.255.255.255",
    "#",
];

const OPTIONS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    ": allow",
    ": deny",
    ": severity info",
    ": severity auth.alert: deny",
    ": bogus",
    ": spawn true: allow",
    ": twist /bin/echo",
    ":",
    ": keepalive",
    ": keepalive: spawn true",
    ": umask 99",
    ": allow: deny",
    ": aclexec true",
];

/// Few octets, so that regions touch and overlap.
fn octet() -> impl Strategy<Value = u8> {
    select(&[0, 1, 2, 3, 10, 127, 128, 254, 255][..])
}

fn group() -> impl Strategy<Value = u16> {
    select(&[0, 0, 0, 1, 0x0db8, 0x2001, 0x3ffe, 0xfe80, 0xffff][..])
}

/// A client token that hangs on the address alone.
pub(super) fn address_token() -> impl Strategy<Value = String> {
    let v4 = || (octet(), octet(), octet(), octet());
    let v6 = || {
        vec(group(), 8)
            .prop_map(|groups| groups.iter().map(|it| format!("{it:x}")).collect::<Vec<_>>().join(":"))
    };
    prop_oneof![
        2 => v4().prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}")),
        2 => (octet(), octet()).prop_map(|(a, b)| format!("{a}.{b}.")),
        1 => octet().prop_map(|a| format!("{a}.")),
        2 => (octet(), octet(), 0..34_u8).prop_map(|(a, b, len)| format!("{a}.{b}.0.0/{len}")),
        1 => (v4(), v4()).prop_map(|((a, b, c, d), (e, f, g, h))| format!("{a}.{b}.{c}.{d}/{e}.{f}.{g}.{h}")),
        1 => v6().prop_map(|address| format!("[{address}]")),
        3 => (v6(), 0..130_u8).prop_map(|(address, len)| format!("[{address}]/{len}")),
    ]
}

fn client_token() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(WORDS).prop_map(str::to_owned),
        12 => address_token(),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let daemons = vec(select(DAEMONS), 1..4);
    let clients = vec(client_token(), 1..6);
    (daemons, clients, select(OPTIONS)).prop_map(|(daemons, clients, options)| {
        format!("{}: {}{options}\n", daemons.join(" "), clients.join(", "))
    })
}

pub(super) fn table() -> impl Strategy<Value = String> {
    (vec(rule(), 0..6), 0..8_u8).prop_map(|(rules, cut)| {
        let mut text = rules.concat();
        // A table without its last newline is one of libwrap's traps.
        if cut == 0 {
            text.pop();
        }
        text
    })
}

/// Tables, and addresses beside those of the regions' borders.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) allow: String,
    pub(super) deny: String,
    v4: Vec<u32>,
    v6: Vec<u128>,
}

impl Case {
    pub(super) fn new(allow: String, deny: String) -> Self {
        Self { allow, deny, v4: Vec::new(), v6: Vec::new() }
    }

    /// The random addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.iter().map(|it| IpAddr::V4((*it).into()));
        v4.chain(self.v6.iter().map(|it| IpAddr::V6((*it).into())))
    }
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    (table(), table(), vec(any::<u32>(), 4), vec(any::<u128>(), 4)).prop_map(|(allow, deny, v4, v6)| Case {
        allow,
        deny,
        v4,
        v6,
    })
}

pub(super) fn names_sets() -> Vec<NamesSet> {
    [&[][..], &["sshd"], &["in.telnetd"], &["nginx", "www"], &["22"], &["unknown"], &["xinetd", "sshd"]]
        .map(NamesSet::new)
        .to_vec()
}
