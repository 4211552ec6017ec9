//! The language of inetd.conf(5), as far as names depend on it.
//!
//! In: the text of the file. Out: its TCP and UDP services. No I/O.
//! Source: inetd(8) of openbsd-inetd and inetutils: `service type protocol wait user program arguments`.

/// A line of inetd.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InetdService {
    /// Its name in services(5), or its port.
    pub name: String,
    /// It is served over UDP.
    pub is_udp: bool,
    /// Path of the program; `internal` for inetd's own.
    pub program: String,
    /// argv, from argv\[0\].
    pub arguments: Vec<String>,
}

/// Reads the file; skips lines that do not describe a TCP or UDP service.
pub fn parse(text: &str) -> Vec<InetdService> {
    text.lines().filter_map(service).collect()
}

fn service(line: &str) -> Option<InetdService> {
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    // `address:service` listens on one address only.
    let name = words.next()?.rsplit(':').next()?;
    let _socket_type = words.next()?;
    let protocol = words.next()?;
    let is_udp = protocol.starts_with("udp");
    let is_known = is_udp || protocol.starts_with("tcp");
    let (_wait, _user) = (words.next()?, words.next()?);
    let program = words.next()?;
    let arguments = words.map(str::to_owned).collect();
    is_known.then(|| InetdService { name: name.into(), is_udp, program: program.into(), arguments })
}

impl InetdService {
    /// The daemon as libwrap knows it: argv\[0\], the word behind tcpd's path.
    pub fn daemon(&self) -> &str {
        let daemon = match self.arguments.first() {
            Some(argument) => argument,
            None if self.program == "internal" => &self.name,
            None => &self.program,
        };
        daemon.rsplit('/').next().unwrap_or(daemon)
    }

    /// The names that daemon lists may use for it.
    pub fn names(&self) -> [&str; 2] {
        [&self.name, self.daemon()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemon_behind_tcpd_is_the_name() {
        let text = "# comment\nftp\tstream\ttcp6\tnowait\troot\t/usr/sbin/tcpd\t/usr/sbin/in.ftpd -l\n\
                    127.0.0.1:7100 stream tcp nowait.40 root /usr/sbin/fontd fontd\n\
                    daytime stream tcp nowait root internal\n\
                    talk dgram udp wait nobody /usr/sbin/in.talkd in.talkd\nshort stream tcp\n";
        let names: Vec<_> = parse(text).iter().map(|service| service.names().join(" ")).collect();
        let over_udp: Vec<_> = parse(text).iter().map(|service| service.is_udp).collect();
        assert_eq!(over_udp, [false, false, false, true]);
        assert_eq!(names, ["ftp in.ftpd", "7100 fontd", "daytime daytime", "talk in.talkd"]);
    }
}
