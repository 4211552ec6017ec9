//! The language of systemd.socket(5), as far as names depend on it: systemd
//! listens for a daemon that has not started yet.
//!
//! In: the texts of a socket unit and of its service. Out: where it listens, under which names. No I/O.
//! Source: systemd.socket(5), systemd.service(5), systemd.syntax(7).

use std::net::{IpAddr, SocketAddr};

/// A socket unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketUnit {
    /// Its name without `.socket`.
    pub name: String,
    /// Where it listens: an address, or every one.
    listens: Vec<(Option<IpAddr>, u16)>,
    /// Where it receives datagrams, likewise.
    receives: Vec<(Option<IpAddr>, u16)>,
    /// `Service=`.
    service: Option<String>,
    /// `Accept=yes`: an instance of a template for each connection.
    is_template: bool,
    /// The program its service runs.
    program: Option<String>,
}

impl SocketUnit {
    /// Reads a unit and its drop-ins, in systemd's order.
    pub fn parse<'a>(name: &str, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut unit = Self { name: name.to_owned(), ..Self::default() };
        for (key, value) in texts.into_iter().flat_map(|text| assignments(text, "[Socket]")) {
            match (key.as_str(), value.as_str()) {
                // An empty value clears the list.
                ("ListenStream", "") => unit.listens.clear(),
                ("ListenStream", value) => unit.listens.extend(address(value)),
                ("ListenDatagram", "") => unit.receives.clear(),
                ("ListenDatagram", value) => unit.receives.extend(address(value)),
                ("Service", value) => unit.service = Some(value.to_owned()),
                ("Accept", value) => unit.is_template = matches!(value, "yes" | "true" | "on" | "1"),
                _ => {}
            }
        }
        unit
    }

    /// File name of the service it starts.
    pub fn service(&self) -> String {
        let template = if self.is_template { "@" } else { "" };
        self.service.clone().unwrap_or_else(|| format!("{}{template}.service", self.name))
    }

    /// Reads the program from its service and the drop-ins of that.
    pub fn add_service<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        for (key, value) in texts.into_iter().flat_map(|text| assignments(text, "[Service]")) {
            if key == "ExecStart" {
                self.program = program(&value).map(str::to_owned);
            }
        }
    }

    /// Whether it listens at a local address, or receives datagrams there.
    pub fn listens_at(&self, local: SocketAddr, is_udp: bool) -> bool {
        let ip = local.ip().to_canonical();
        let sockets = if is_udp { &self.receives } else { &self.listens };
        sockets.iter().any(|&(address, port)| {
            let is_address = address.map_or(ip.is_unspecified(), |own| own.to_canonical() == ip);
            port == local.port() && is_address
        })
    }

    /// Its names: those of socket, service and program.
    pub fn names(&self) -> Vec<&str> {
        let service = self.service.as_deref().and_then(|name| name.split(['@', '.']).next());
        [Some(self.name.as_str()), service, self.program.as_deref()].into_iter().flatten().collect()
    }

    /// The name the daemon will log under.
    pub fn ident(&self) -> &str {
        self.program.as_deref().unwrap_or(&self.name)
    }
}

/// The assignments of one section of a unit file. A backslash at the end continues a line; comments in between do not
/// end it. Source: systemd.syntax(7).
pub(super) fn assignments(text: &str, section: &str) -> Vec<(String, String)> {
    let (mut is_in_section, mut found, mut line) = (false, Vec::new(), String::new());
    for part in text.lines().map(str::trim) {
        if part.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = part.strip_suffix('\\') {
            line.push_str(part);
            line.push(' ');
            continue;
        }
        line.push_str(part);
        if line.starts_with('[') {
            is_in_section = line == section;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_in_section) {
            found.push((key.trim_end().to_owned(), value.trim().to_owned()));
        }
        line.clear();
    }
    found
}

/// A port, or an address and a port. Sockets of no port are left out.
fn address(value: &str) -> Option<(Option<IpAddr>, u16)> {
    if let Ok(port) = value.parse() {
        return Some((None, port));
    }
    let address: SocketAddr = value.parse().ok()?;
    Some((Some(address.ip()), address.port()))
}

/// The program's name: with `@` argv\[0\] follows the path; the other prefixes do not matter here.
fn program(command: &str) -> Option<&str> {
    let path = command.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let signs = &command[..command.len() - path.len()];
    let mut words = path.split_ascii_whitespace();
    let path = words.next()?;
    let word = if signs.contains('@') { words.next().unwrap_or(path) } else { path };
    word.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ubuntu's ssh.socket, and the drop-in its generator writes.
    const SSH: &str = "[Unit]\nDescription=OpenBSD Secure Shell server socket\nListenStream=9\n\n\
                       [Socket]\nListenStream=0.0.0.0:22\nListenStream=[::]:22\nBindIPv6Only=ipv6-only\n\
                       Accept=no\nFreeBind=yes\n";
    const ADDRESSES: &str = "[Socket]\nListenStream=\nListenStream=2222\n# ListenStream=1\n";
    const SERVICE: &str = "[Service]\nExecStartPre=/usr/sbin/sshd -t\n\
                           ExecStart=/usr/sbin/sshd -D $SSHD_OPTS\nExecReload=/bin/kill -HUP $MAINPID\n";

    fn at(unit: &SocketUnit, local: &str) -> bool {
        unit.listens_at(local.parse().unwrap(), false)
    }

    #[test]
    fn ssh_socket_is_known_as_ssh_and_sshd() {
        let mut unit = SocketUnit::parse("ssh", [SSH]);
        assert_eq!(unit.service(), "ssh.service");
        unit.add_service([SERVICE]);
        assert_eq!(unit.names(), ["ssh", "sshd"]);
        assert_eq!(unit.ident(), "sshd");
        assert!(at(&unit, "0.0.0.0:22") && at(&unit, "[::]:22"));
        assert!(!at(&unit, "127.0.0.1:22") && !at(&unit, "[::]:9"));
    }

    #[test]
    fn drop_in_replaces_addresses() {
        let unit = SocketUnit::parse("ssh", [SSH, ADDRESSES]);
        assert!(at(&unit, "[::]:2222") && !at(&unit, "[::]:22") && !at(&unit, "[::]:1"));
    }

    #[test]
    fn datagrams_are_told_apart() {
        let unit = SocketUnit::parse("syslog", ["[Socket]\nListenDatagram=514\nListenStream=601\n"]);
        let at = |local: &str, is_udp| unit.listens_at(local.parse().unwrap(), is_udp);
        assert!(at("[::]:514", true) && !at("[::]:514", false));
        assert!(at("[::]:601", false) && !at("[::]:601", true));
    }

    #[test]
    fn template_and_named_services() {
        let unit = SocketUnit::parse("x", ["[Socket]\nAccept=yes\nListenStream=/run/x\n"]);
        assert_eq!(unit.service(), "x@.service");
        assert_eq!(unit.listens, []);
        let unit = SocketUnit::parse("x", ["[Socket]\nService=y.service\n"]);
        assert_eq!((unit.service().as_str(), unit.names()), ("y.service", vec!["x", "y"]));
    }

    #[test]
    fn line_that_continues_is_one_assignment() {
        let text = "[Service]\nExecStart=/bin/a \\\n# b\n ListenStream=1 \\\n\tc\nUser=x\n[Socket]\nUser=y\n";
        let wanted = [("ExecStart", "/bin/a  ListenStream=1  c"), ("User", "x")];
        let wanted = wanted.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(assignments(text, "[Service]"), wanted);
    }

    #[test]
    fn program_is_found_behind_signs() {
        assert_eq!(program("-/usr/sbin/sshd -i"), Some("sshd"));
        assert_eq!(program("@/usr/sbin/tcpd in.ftpd -l"), Some("in.ftpd"));
        assert_eq!(program(""), None);
    }
}
