//! Daemon and client lists.

use super::Author;

const DAEMONS: &[&str] = &[
    "sshd",
    "in.telnetd",
    "vsftpd",
    "in.tftpd",
    "rpcbind",
    "slapd",
    "SSHD",
    "false",
    "true",
    "d-1",
    "mountd",
];

const ODD_DAEMONS: &[&str] = &[
    "KNOWN",
    "UNKNOWN",
    "LOCAL",
    "PARANOID",
    "EXCEPT",
    "@sshd",
    "@",
    "*",
    "?",
    "s*d",
    "in.",
    ".telnetd",
    "in.*",
    "*d",
    "22x",
    "-1",
    "022",
    "+22",
    "4294967318",
    "65535",
    "65536",
    "70000",
    "0",
    "0x16",
    "22-25",
    "ssh",
    "99999999999999999999",
    "[::1]",
    "/tmp/lwc/p0",
    "/etc/passwd",
    "sshd,",
    "unknown",
    "all",
    ".",
    "ALL.",
    "a**",
    "sshd?",
    "s**d",
    "+",
    "22 ",
];

const USERS: &[&str] = &["root", "alice", "joe", "ROOT", "a.b", "daemon", "unknown", "x1", "nobody", "false"];

const ODD_USERS: &[&str] = &[
    "ALL",
    "KNOWN",
    "UNKNOWN",
    "LOCAL",
    "PARANOID",
    "al",
    "a.",
    ".b",
    "*",
    "a*",
    "?lice",
    "EXCEPT",
    "[::1]",
    "/tmp/lwc/p0",
    "'",
];

/// What stands between tokens.
const SEPARATORS: &[(usize, &str)] = &[
    (60, " "),
    (12, ", "),
    (8, ","),
    (4, "\t"),
    (3, "  "),
    (2, " , "),
    (1, "\r"),
    (1, ",,"),
    (1, "\u{b}"),
    (1, ";"),
];

impl Author<'_> {
    /// A daemon list.
    pub(super) fn daemons(&mut self) -> String {
        let count = self.random.weighted(&[(60, 1), (20, 2), (12, 3), (4, 5), (1, 0)]);
        self.list(count, Self::daemon)
    }

    /// A client list.
    pub(super) fn clients(&mut self) -> String {
        let count = self.random.weighted(&[(40, 1), (25, 2), (18, 3), (10, 5), (3, 12), (1, 0)]);
        self.list(count, Self::client)
    }

    fn list(&mut self, count: usize, token: fn(&mut Self) -> String) -> String {
        let mut tokens: Vec<String> = (0..count).map(|_| token(self)).collect();
        if self.random.chance(self.taste.except) {
            for _ in 0..self.random.weighted(&[(70, 1), (20, 2), (6, 3), (2, 6), (1, 40)]) {
                let word = self.random.weighted(&[(85, "EXCEPT"), (10, "except"), (5, "Except")]);
                let at =
                    if self.random.chance(80) { tokens.len() } else { self.random.below(tokens.len() + 1) };
                tokens.insert(at, word.to_owned());
                for _ in 0..self.random.weighted(&[(70, 1), (15, 2), (5, 3), (5, 0)]) {
                    tokens.push(token(self));
                }
            }
            if tokens.len() > 1 && self.random.chance(60) {
                // What is excepted shall have something to be excepted from.
                tokens[0] = if self.random.chance(80) { "ALL".into() } else { token(self) };
            }
        }
        let mut list = String::new();
        for (index, token) in tokens.iter().enumerate() {
            if index > 0 {
                list += self.random.weighted(SEPARATORS);
            }
            list += token;
        }
        list
    }

    /// `daemon` or `daemon@server`.
    fn daemon(&mut self) -> String {
        let mut daemon = if self.random.chance(self.taste.odd_daemons) {
            self.odd_daemon()
        } else if self.random.chance(50) {
            "ALL".to_owned()
        } else {
            let daemon = *self.random.pick(DAEMONS);
            self.world.daemons.push(daemon.to_owned());
            daemon.to_owned()
        };
        if self.random.chance(self.taste.servers) {
            if self.random.chance(70) && !self.random.chance(20) {
                daemon = "ALL".into();
            }
            daemon.push('@');
            // What matches a server matches a client with its address.
            let known = self.world.addresses.len();
            daemon += &match self.random.below(10) {
                0..=2 => {
                    self.random.pick(&["ALL", "KNOWN", "UNKNOWN", "*", "LOCAL", "PARANOID", ""]).to_string()
                }
                _ => self.host(),
            };
            let servers = self.world.addresses.drain(known..);
            self.world.servers.extend(servers);
        }
        daemon
    }

    fn odd_daemon(&mut self) -> String {
        match self.random.below(6) {
            0 | 1 => {
                let port = *self.random.pick(&[22_u16, 23, 80, 443, 65535, 1]);
                self.world.ports.push(port);
                match self.random.below(5) {
                    0 => format!("+{port}"),
                    1 => format!("00{port}"),
                    2 => (u64::from(port) + (1 << 32)).to_string(),
                    _ => port.to_string(),
                }
            }
            2 => {
                let daemon = *self.random.pick(DAEMONS);
                self.world.daemons.push(daemon.to_owned());
                self.glob_of(daemon)
            }
            _ => (*self.random.pick(ODD_DAEMONS)).into(),
        }
    }

    /// `host` or `user@host`.
    pub(super) fn client(&mut self) -> String {
        let host = self.host();
        if !self.random.chance(self.taste.users) {
            return host;
        }
        let user = if self.random.chance(50) {
            let user = *self.random.pick(USERS);
            self.world.users.push(user.to_owned());
            user.to_owned()
        } else {
            (*self.random.pick(ODD_USERS)).to_owned()
        };
        match self.random.below(40) {
            0 => format!("@{user}@{host}"),
            1 => format!("{user}@@{host}"),
            2 => format!("{user}@"),
            3 => format!("{user}@x@{host}"),
            _ => format!("{user}@{host}"),
        }
    }
}
