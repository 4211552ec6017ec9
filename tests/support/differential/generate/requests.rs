//! Requests: those the tables speak of, their neighbours, and odd ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Author, Case, Text};

const ODD_ADDRESSES: &[&str] = &[
    "255.255.255.255",
    "0.0.0.0",
    "::",
    "::1",
    "::ffff:1.2.3.4",
    "::FFFF:10.0.0.1",
    "::ffff:255.255.255.255",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%2",
    "2001:db8::1%lo",
    "1.2.3",
    "garbage",
    "unknown",
    "",
    "1.2.3.4.5",
    "0x1.2.3.4",
    "01.2.3.4",
    "2001:DB8::1",
    "::1.2.3.4",
    "::ffff:102:304",
    "[::1]",
    "1.2.3.4/24",
    "paranoid",
    "::ffff:1.2.3",
    "::ffff:0x1.2.3.4",
    "1.2.3.4 ",
    "::ffff:01.2.3.4",
    "ff02::1%lo",
    "::ffff:1.2.3.4%lo",
    "KNOWN",
    "ALL",
    "1.2.3.256",
];

const ODD_NAMES: &[&str] = &[
    "unknown",
    "",
    "localhost",
    "UNKNOWN",
    "Paranoid",
    "a;b",
    "-x.example.com",
    "$(id).evil.test",
    "ö.example.com",
    "a b",
    "`id`",
    "..",
    "x/../y",
    "1.2.3.4",
    "::1",
    "[::1]",
    "*",
    "a%h",
    ".",
    "a.",
    ".a",
    "a'b\"c",
    "A\\B",
    "x|y&z",
    "all",
    "10.1.2.3",
    "\t",
    "a\n",
    "::ffff:10.0.0.1",
    "%n",
    "host@x",
    "h\u{f6f6}st.example.com",
];

const ODD_USERS: &[&str] = &[
    "unknown",
    "root;id",
    "a b",
    "-r",
    "ö",
    "$USER",
    "x'y",
    "../..",
    "%u",
    "UNKNOWN",
    "KNOWN",
    "ALL",
    "a@b",
    "false",
    "exit 1",
    "::ffff:1.2.3.4",
    "m\u{f6fc}ller",
];

const ODD_DAEMONS: &[&str] = &[
    "unknown",
    "22",
    "UNKNOWN",
    "false",
    "a b",
    "d;x",
    "in.telnetd",
    "IN.TELNETD",
    "::1",
    "ALL",
    "x@y",
    "%d",
    ".",
    "ö",
    "s",
    "nginx",
    "+22",
    "",
];

impl Author<'_> {
    /// A request about two tables.
    pub(super) fn request(&mut self, allow: Option<&str>, deny: Option<&str>) -> Case {
        let client_addr = self.address(self.world.addresses.clone(), 4);
        let client_name = self.asked_name(client_addr.as_deref(), 30);
        let has_server = self.random.chance(70);
        let server_addr = if has_server { self.address(self.world.servers.clone(), 6) } else { None };
        let server_name = if has_server { self.asked_name(server_addr.as_deref(), 55) } else { None };
        let client_name = self.lengthened(client_name, [allow, deny]);
        let text = |text: Option<String>| text.as_deref().map(Text::from_marked);
        Case {
            id: String::new(),
            allow: allow.map(Text::from_marked),
            deny: deny.map(Text::from_marked),
            daemon: Text::from_marked(&self.asked_daemon()),
            client_addr: text(client_addr),
            client_name: text(client_name),
            client_user: text(self.asked_user()),
            server_addr: text(server_addr),
            server_name: text(server_name),
            server_port: self.random.chance(60).then(|| *self.random.pick(&self.world.ports)),
            client_port: self.random.chance(40).then(|| *self.random.pick(&[1, 22, 1023, 40000, 65535])),
            files: self
                .world
                .files
                .iter()
                .map(|(path, text)| (path.clone(), Text::from_marked(text)))
                .collect(),
            resident: self.random.chance(25),
        }
    }

    /// The long name that a table's long expansions are about.
    fn lengthened(&mut self, name: Option<String>, tables: [Option<&str>; 2]) -> Option<String> {
        let long = |table: Option<&str>| table.is_some_and(|text| text.contains("%n%n%n%n"));
        if tables.into_iter().any(long) && self.random.chance(60) { Some("n".repeat(127)) } else { name }
    }

    fn address(&mut self, known: Vec<String>, unknown: usize) -> Option<String> {
        if self.random.chance(unknown) {
            return None;
        }
        let address = match self.random.below(20) {
            0 => (*self.random.pick(ODD_ADDRESSES)).into(),
            1 => Ipv4Addr::from(self.world.v4(self.random)).to_string(),
            2 => Ipv6Addr::from(self.world.v6(self.random)).to_string(),
            _ if known.is_empty() => Ipv4Addr::from(self.world.v4(self.random)).to_string(),
            _ => self.random.pick(&known).clone(),
        };
        // Whoever connects comes through an interface that exists.
        let address = address.replace("%nosuch", "%lo");
        Some(match self.random.below(25) {
            0 if address.parse::<Ipv4Addr>().is_ok() => format!("::ffff:{address}"),
            1 if !address.contains('%') => address.to_uppercase(),
            _ => address,
        })
    }

    fn asked_name(&mut self, address: Option<&str>, unknown: usize) -> Option<String> {
        if self.random.chance(unknown) {
            return None;
        }
        if self.random.chance(self.taste.hostile_names) {
            return Some(match self.random.below(9) {
                // Cut after 127 bytes.
                0 => format!(
                    "{}.{}",
                    "a".repeat(self.random.between(110, 130)),
                    self.random.pick(&self.world.names)
                ),
                2 => "é".repeat(self.random.between(60, 66)),
                _ => (*self.random.pick(ODD_NAMES)).into(),
            });
        }
        let name = self.random.pick(&self.world.names).clone();
        Some(match self.random.below(20) {
            0 | 1 => "paranoid".into(),
            2 => format!("{}.evil.test", address.unwrap_or("10.0.0.1")),
            3 => name.to_uppercase(),
            4 => format!("x{name}"),
            5 => self.name(),
            _ => name,
        })
    }

    fn asked_user(&mut self) -> Option<String> {
        if self.random.chance(50) {
            return None;
        }
        if self.random.chance(self.taste.hostile_names) {
            return Some(match self.random.below(8) {
                0 => "u".repeat(self.random.between(125, 130)),
                _ => (*self.random.pick(ODD_USERS)).into(),
            });
        }
        Some(self.random.pick(&self.world.users).clone())
    }

    fn asked_daemon(&mut self) -> String {
        if self.random.chance(10) {
            return match self.random.below(10) {
                0 => "d".repeat(self.random.between(125, 130)),
                _ => (*self.random.pick(ODD_DAEMONS)).into(),
            };
        }
        let daemon = self.random.pick(&self.world.daemons).clone();
        if self.random.chance(5) { daemon.to_uppercase() } else { daemon }
    }
}
