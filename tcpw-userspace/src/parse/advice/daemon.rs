//! Findings on one token of a daemon list.

use super::{
    Code, Finding, NEVER, Side, known, line,
    placeholder::daemon as placeholder_daemon,
    quote,
    separator::foreign,
    text,
    word::{DAEMON_WORDS, near_word},
};
use crate::parse::{
    number,
    pattern::split_end,
    rule::{Daemon, DaemonPattern, TableKind, TextPattern},
};

/// Names that are often written for a daemon that has another one.
const WRONG_NAMES: &[(&[u8], &str)] =
    &[(b"ssh", "sshd"), (b"openssh", "sshd"), (b"in.sshd", "sshd"), (b"rpc", "rpcbind")];

/// A name of a service that is written for the program's.
struct Service {
    name: &'static str,
    /// What to write.
    advice: &'static str,
    /// inetd may start a service of this name, or a program had it once.
    may_match: bool,
}

const fn never(name: &'static str, advice: &'static str) -> Service {
    Service { name, advice, may_match: false }
}

const fn rarely(name: &'static str, advice: &'static str) -> Service {
    Service { name, advice, may_match: true }
}

/// Names of services that are written for the programs', and what there is to say of each.
const SERVICES: &[Service] = &[
    never("nfs", KERNEL_NFS),
    never("nfs-server", KERNEL_NFS),
    never("rpc.nfsd", KERNEL_NFS),
    rarely(
        "nfsd",
        "it listens in the kernel, and no program asks for it: name it under [names.port] in /etc/tcpw.toml, 2049 = \"nfsd\"",
    ),
    rarely("ftp", "write the name of the program: vsftpd, proftpd, pure-ftpd or in.ftpd"),
    never("http", HTTP),
    never("https", HTTP),
    never("www", HTTP),
    rarely(
        "smtp",
        "write the name of the program: postfix asks as \"smtpd\", exim as \"exim\", sendmail as \"sendmail\"",
    ),
    never("mail", "write the name of the program: smtpd, exim, sendmail or dovecot"),
    rarely("telnet", "write the name of the program: in.telnetd or telnetd"),
    never("ldap", "write the name of the program: slapd"),
    never("ldaps", "write the name of the program: slapd"),
    never("mysql", "write the name of the program: mysqld or mariadbd"),
    rarely("snmp", "write the name of the program: snmpd"),
    never("dns", "write the name of the program: named or unbound"),
    rarely("domain", "write the name of the program: named or unbound"),
    rarely("vnc", "write the name of the program: Xvnc or x11vnc"),
    rarely("samba", "write the names of the programs: smbd, nmbd"),
    never("smb", "write the names of the programs: smbd, nmbd"),
    never("cifs", "write the names of the programs: smbd, nmbd"),
    rarely("cups", "write the name of the program: cupsd"),
    rarely("apache", "write the name of the program: apache2 or httpd"),
    never("mariadb", "write the name of the program: mariadbd or mysqld"),
    never("postgresql", "write the name of the program: postgres"),
    never("redis", "write the name of the program: redis-server"),
    never("mongodb", "write the name of the program: mongod"),
    never("postfix", "write \"smtpd\", the program of postfix that takes mail from the network"),
    never("rdp", "write the name of the program: xrdp"),
    never("ntp", "write the name of the program: ntpd or chronyd"),
    never("bind", "write the name of the program: named"),
    rarely("git", "write the name of the program: git-daemon"),
    rarely("docker", "write the name of the program: dockerd"),
    never("syslog", "write the name of the program: rsyslogd or syslog-ng"),
    never("sftp", "write \"sshd\", the program that serves it"),
    never("scp", "write \"sshd\", the program that serves it"),
    rarely("lockd", KERNEL_LOCKS),
    rarely("rpc.lockd", KERNEL_LOCKS),
    never("tcp", "write names of programs, or ports: this is a protocol"),
    never("udp", "write names of programs, or ports: this is a protocol"),
];

const HTTP: &str = "write the name of the program: apache2, httpd or nginx";

const KERNEL_NFS: &str = "write \"mountd\" for mounts; the kernel serves files as \"nfsd\", if [names.port] in \
                          /etc/tcpw.toml names it so";

const KERNEL_LOCKS: &str =
    "it listens in the kernel, and no program asks for it: name it under [names.port] in /etc/tcpw.toml";

/// Programs that start services: no client connects to them by these names.
const STARTERS: &[&[u8]] = &[b"inetd", b"xinetd", b"systemd", b"tcpd"];

/// Finding on a token of a daemon list.
pub(in crate::parse) fn daemon(token: &[u8], pattern: &DaemonPattern, kind: TableKind) -> Option<Finding> {
    if pattern.daemon == Daemon::Never {
        let name = token.strip_suffix(b"@").unwrap_or(token);
        let message = format!("nothing after the \"@\" of {}", quote(token));
        let finding = Finding::new(Code::W030, message, "a server address", NEVER);
        return Some(finding.replace(name));
    }
    if let Some(finding) = foreign(token) {
        return Some(finding);
    }
    let (name, right) = split_end(token);
    if let (Some(right), Some(server)) = (right, &pattern.server)
        && let Some(finding) = text::host(right, server, Side { end: "server", kind: Some(kind) })
    {
        // The fix is for the address alone.
        return Some(finding.within(&token[..=name.len()], b""));
    }
    match &pattern.daemon {
        Daemon::Never => None,
        Daemon::Port(port) => odd_port(name, *port),
        Daemon::Name(pattern) => odd_name(name, pattern),
    }
    .map(|finding| finding.within(b"", &token[name.len()..]))
}

fn odd_port(name: &[u8], port: u16) -> Option<Finding> {
    let message = |what: &str| format!("{} is {what}", quote(name));
    if port == 0 {
        return Some(Finding::new(Code::W104, message("no port"), "a port from 1 to 65535", NEVER));
    }
    let finding = Finding::new(
        Code::W105,
        message(&format!("the port {port}")),
        "its decimal number",
        "it matches every daemon at that port",
    );
    (port.to_string().as_bytes() != name).then(|| finding.replace(port.to_string()))
}

fn odd_name(name: &[u8], pattern: &TextPattern) -> Option<Finding> {
    let message = |what: &str| format!("{} {what}", quote(name));
    if matches!(name, [b'@' | b'/', _, ..]) && matches!(pattern, TextPattern::Exact(_)) {
        let expected = "a daemon's name: neither files nor netgroups are read here";
        let finding = Finding::new(Code::W031, message("is taken as a daemon's name"), expected, NEVER);
        // A program's path: rules have its last part.
        let last = name.rsplit(|byte| *byte == b'/').next().and_then(known::find_known);
        return Some(match last.filter(|_| name.starts_with(b"/")) {
            Some(last) => finding.replace(last),
            None => finding,
        });
    }
    if line::is_address(name) {
        let expected = "a daemon's name: the clients stand behind the first colon";
        return Some(Finding::new(Code::W107, message("is an address in the daemon list"), expected, NEVER));
    }
    if let Some(finding) = no_port(name).or_else(|| with_port(name)).or_else(|| placeholder_daemon(name)) {
        return Some(finding);
    }
    match pattern {
        TextPattern::All | TextPattern::Glob(_) | TextPattern::Bracketed(_) => None,
        TextPattern::Known => Some(wildcard(name, "it matches every daemon that is not called \"unknown\"")),
        TextPattern::Suffix(_) | TextPattern::Prefix(_) => Some(Finding::new(
            Code::W037,
            message("is a pattern, as it begins or ends in a dot"),
            "a daemon's name",
            "it matches every daemon whose name ends or begins so",
        )),
        TextPattern::Exact(_) => {
            if [&b"LOCAL"[..], b"UNKNOWN", b"PARANOID"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
                return Some(wildcard(name, "it matches only a daemon of that name"));
            }
            let taken_for = "a daemon's name";
            near_word(name, DAEMON_WORDS, taken_for).or_else(|| unknown(name))
        }
    }
}

fn wildcard(name: &[u8], consequence: &'static str) -> Finding {
    let message = format!("{} means nothing in a daemon list", quote(name));
    Finding::new(Code::W036, message, "ALL, or a daemon's name", consequence)
}

/// Digits that are no port: too large, a range, or with a protocol.
fn no_port(name: &[u8]) -> Option<Finding> {
    if !name.first()?.is_ascii_digit() {
        return None;
    }
    let message = format!("{} is taken for a daemon's name", quote(name));
    if number::scan_unsigned(name, 10).is_some() {
        return Some(Finding::new(Code::W104, message, "a port from 1 to 65535", NEVER));
    }
    let mut parts = name.split(|byte| matches!(byte, b'-' | b'/'));
    let (first, second) = (parts.next()?, parts.next()?);
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let is_service = |text: &[u8]| is_number(text) || matches!(text, b"tcp" | b"udp" | b"");
    if parts.next().is_some() || !is_number(first) || !is_service(second) {
        return None;
    }
    let finding = Finding::new(Code::W106, message, "each port by its number alone", NEVER);
    let is_range = is_number(second) && name.contains(&b'-');
    Some(if is_range { finding } else { finding.replace(first) })
}

/// `sshd/22`, `sshd/tcp`: a port or protocol behind a name.
fn with_port(name: &[u8]) -> Option<Finding> {
    let at = name.iter().position(|byte| *byte == b'/').filter(|at| *at > 0)?;
    let (daemon, behind) = (&name[..at], &name[at + 1..]);
    let is_protocol = matches!(behind, b"tcp" | b"udp" | b"tcp6" | b"udp6");
    if !is_protocol && (behind.is_empty() || !behind.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let message = format!("{} is taken for a daemon's name", quote(name));
    let finding = Finding::new(Code::W106, message, "the daemon's name, or the port, alone", NEVER);
    Some(if is_protocol { finding.replace(daemon) } else { finding })
}

/// The name of a service, of a program that starts others, or one that a program had before.
fn service(name: &[u8]) -> Option<Finding> {
    let is = |other: &&[u8]| other.eq_ignore_ascii_case(name);
    if STARTERS.iter().any(is) {
        let message = format!("{} starts programs for services: none is asked for by its name", quote(name));
        let expected = "the programs that it starts, each by its own name, such as in.ftpd";
        return Some(Finding::new(Code::W101, message, expected, "no client connects to it by this name"));
    }
    if is(&b"portmap".as_slice()) || is(&b"portmapper".as_slice()) {
        let message = format!("{} is called \"rpcbind\" on systems of today", quote(name));
        let consequence = "rpcbind asks libwrap by its own name";
        return Some(Finding::new(Code::H172, message, "", consequence).replace("rpcbind"));
    }
    let service = SERVICES.iter().find(|service| is(&service.name.as_bytes()))?;
    let message = format!("{} is the name of a service: the program that serves it has another", quote(name));
    Some(if service.may_match {
        let consequence = "the name of the program is compared, not that of the service";
        Finding::new(Code::H172, message, "", consequence).advise(service.advice)
    } else {
        let consequence =
            "no program has this name, unless [names.port] in /etc/tcpw.toml gives it to a port";
        Finding::new(Code::W101, message, "the name of the program", consequence).advise(service.advice)
    })
}

/// A unit of systemd or a package: the program that it starts.
fn unit(name: &str) -> Option<&'static str> {
    let name =
        [".service", ".socket", "-server", "@.service"].iter().find_map(|end| name.strip_suffix(end))?;
    match name {
        "ssh" | "openssh" => Some("sshd"),
        name => known::find_known(name.as_bytes()),
    }
}

fn unknown(name: &[u8]) -> Option<Finding> {
    if let Some(finding) = service(name) {
        return Some(finding);
    }
    if known::is_known(name) {
        return None;
    }
    let text = std::str::from_utf8(name).ok();
    let lower = text.unwrap_or_default().to_ascii_lowercase();
    let wrong =
        WRONG_NAMES.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(name)).map(|(_, right)| *right);
    let with_in = format!("in.{lower}");
    if known::is_known(with_in.as_bytes()) {
        let message = format!("{} is usually called {with_in:?}", quote(name));
        let consequence = format!("only a program called {} matches", quote(name));
        return Some(Finding::new(Code::H102, message, "", consequence).replace(with_in));
    }
    if let Some(right) = wrong.or_else(|| unit(&lower)).or_else(|| known::near_daemon(&lower)) {
        let message = format!("{} is not the name that the daemon gives itself", quote(name));
        let expected = format!("\"{right}\"");
        return Some(
            Finding::new(
                Code::W101,
                message,
                expected,
                format!("only a program called {} matches", quote(name)),
            )
            .replace(right),
        );
    }
    let message = format!("no program called {} is known to ask libwrap", quote(name));
    let consequence = "tcpw judges every daemon of that name; only programs linked with libwrap ask it";
    Some(Finding::new(Code::H100, message, "", consequence))
}
