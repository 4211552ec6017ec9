//! Programs that ask libwrap by a name of their own configuration, and the names in those files.
//!
//! In: files of this machine. Out: each name, the file it stands in, and the setting that makes tcpw know the listener
//! by it. Invariant: a file that cannot be understood gives no name.
//!
//! Source: the programs of Debian 12 that depend on libwrap0, by the argument of their call of request_init() or
//! hosts_ctl(). Those that pass a fixed name other than that of their file are in `listeners/libwrap_names.rs`. The
//! others pass the name of their file, or get their connections from a super-server.

use std::path::{Path, PathBuf};

use super::facts::Facts;

/// A name that a program of this machine gives libwrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configured {
    /// The name.
    pub(super) name: String,
    /// The program.
    pub(super) program: &'static str,
    /// The file that the name stands in.
    pub(super) file: PathBuf,
    /// What to set in /etc/tcpw.toml.
    pub(super) setting: String,
}

/// How a program finds its name.
struct Program {
    called: &'static str,
    /// Files, or directories whose files end in `.conf`.
    files: &'static [&'static str],
    read: fn(&str) -> Vec<Found>,
}

/// A name, and what tcpw can know its listener by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    name: String,
    by: By,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    Port(u16),
    Unit(&'static str),
}

const PROGRAMS: &[Program] = &[
    // stunnel(8), "libwrap": "the service name", that of the section. ssl.c and client.c: `c->opt->servname`.
    Program { called: "stunnel", files: &["/etc/stunnel"], read: stunnel },
    // bacula's manual, "TCP wrappers": the Name of the daemon's resource. lib/bnet_server.c: `my_name`.
    Program { called: "bacula-fd", files: &["/etc/bacula/bacula-fd.conf"], read: bacula_fd },
    Program { called: "bacula-dir", files: &["/etc/bacula/bacula-dir.conf"], read: bacula_dir },
    Program { called: "bacula-sd", files: &["/etc/bacula/bacula-sd.conf"], read: bacula_sd },
    // cyrus.conf(5), SERVICES: master puts the entry's name into CYRUS_SERVICE. master/service.c: `service`.
    Program { called: "cyrus-imapd", files: &["/etc/cyrus.conf"], read: cyrus },
    // login_access_sockets = tcpwrap: the name of the protocol. util/tcpwrap.c.
    Program {
        called: "dovecot",
        files: &["/etc/dovecot/conf.d", "/etc/dovecot/dovecot.conf"],
        read: dovecot,
    },
    // sslh(8), `service:` of a protocol. common.c, check_access_rights().
    Program { called: "sslh", files: &["/etc/sslh.cfg", "/etc/sslh/sslh.cfg"], read: sslh },
];

/// Ports of services by the names that cyrus.conf writes.
const PORTS: &[(&str, u16)] = &[
    ("http", 80),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("lmtp", 24),
    ("mupdate", 3905),
    ("nntp", 119),
    ("nntps", 563),
    ("pop3", 110),
    ("pop3s", 995),
    ("sieve", 4190),
];

/// What dovecot calls its protocols, and their ports.
const DOVECOT: &[(&str, u16)] =
    &[("imap", 143), ("imap", 993), ("pop3", 110), ("pop3", 995), ("sieve", 4190)];

/// The names in the files of this machine.
pub(super) fn configured(facts: &dyn Facts) -> Vec<Configured> {
    let mut all: Vec<Configured> = Vec::new();
    for program in PROGRAMS {
        for file in program.files.iter().flat_map(|path| files(Path::new(path), facts)) {
            for Found { name, by } in (program.read)(&facts.text(&file).unwrap_or_default()) {
                let setting = match by {
                    By::Port(port) => format!("[names.port] {port} = [{name:?}]"),
                    By::Unit(unit) => format!("[names.unit] {unit:?} = [{name:?}]"),
                };
                match all.iter_mut().find(|known| known.name == name && known.file == file) {
                    Some(known) => {
                        known.setting =
                            format!("{}, {}", known.setting, setting.trim_start_matches("[names.port] "))
                    }
                    None => {
                        all.push(Configured { name, program: program.called, file: file.clone(), setting })
                    }
                }
            }
        }
    }
    all
}

/// The file, or those of the directory.
fn files(path: &Path, facts: &dyn Facts) -> Vec<PathBuf> {
    if path.extension().is_some() {
        return vec![path.into()];
    }
    let is_read = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "conf");
    facts.entries(path).into_iter().filter(is_read).collect()
}

/// The lines of a text, without blanks around them and comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// `[name]` and `accept = [HOST:]PORT`.
fn stunnel(text: &str) -> Vec<Found> {
    let (mut found, mut section) = (Vec::new(), None);
    for line in lines(text) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name.trim());
        }
        let port = line.split_once('=').filter(|(key, _)| key.trim().eq_ignore_ascii_case("accept"));
        let port = port.and_then(|(_, value)| value.rsplit(':').next()?.trim().parse().ok());
        found.extend(section.zip(port).map(|(name, port)| Found { name: name.into(), by: By::Port(port) }));
    }
    found
}

fn bacula_fd(text: &str) -> Vec<Found> {
    bacula(text, &["filedaemon", "client"], "bacula-fd.service")
}

fn bacula_dir(text: &str) -> Vec<Found> {
    bacula(text, &["director"], "bacula-director.service")
}

fn bacula_sd(text: &str) -> Vec<Found> {
    bacula(text, &["storage"], "bacula-sd.service")
}

/// `RESOURCE {` and `Name = NAME` in it. Keys are read without blanks and case.
fn bacula(text: &str, resources: &[&str], unit: &'static str) -> Vec<Found> {
    let (mut found, mut depth, mut is_in) = (Vec::new(), 0_u32, false);
    for part in lines(text).flat_map(|line| line.split_inclusive(['{', '}', ';'])) {
        let words: String = part.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
        let key = words.to_ascii_lowercase();
        if is_in && depth == 1 && key.starts_with("name=") {
            let name = words["name=".len()..].trim_matches(['"', ';', '}']).to_owned();
            found.push(Found { name, by: By::Unit(unit) });
        }
        if let Some(head) = key.strip_suffix('{') {
            is_in = if depth == 0 { resources.contains(&head) } else { is_in };
            depth += 1;
        } else if key.ends_with('}') {
            depth = depth.saturating_sub(1);
        }
    }
    found.truncate(1);
    found
}

/// `NAME cmd="..." listen="[HOST:]PORT"` in `SERVICES { }`.
fn cyrus(text: &str) -> Vec<Found> {
    let inside = lines(text).skip_while(|line| !line.starts_with("SERVICES")).skip(1);
    let entry = |line: &str| {
        let listen = line.split_once("listen=")?.1.trim_start_matches('"');
        let listen = listen.split(['"', ' ', '\t']).next()?.rsplit(':').next()?;
        let known = || PORTS.iter().find(|(name, _)| *name == listen).map(|(_, port)| *port);
        let port = listen.parse().ok().or_else(known)?;
        Some(Found { name: line.split_ascii_whitespace().next()?.into(), by: By::Port(port) })
    };
    inside.take_while(|line| !line.starts_with('}')).filter_map(entry).collect()
}

fn dovecot(text: &str) -> Vec<Found> {
    let asks = lines(text).any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim() == "login_access_sockets" && value.split_ascii_whitespace().any(|it| it == "tcpwrap")
        })
    });
    let found = |(name, port): &(&str, u16)| Found { name: (*name).into(), by: By::Port(*port) };
    if asks { DOVECOT.iter().map(found).collect() } else { Vec::new() }
}

/// `service: "NAME"`.
fn sslh(text: &str) -> Vec<Found> {
    let service = |part: &str| {
        let (_, rest) = part.split_once("service")?;
        let name = rest.trim_start().strip_prefix([':', '='])?.trim_start().strip_prefix('"')?;
        Some(Found { name: name.split('"').next()?.into(), by: By::Unit("sslh.service") })
    };
    lines(text).flat_map(|line| line.split(';')).filter_map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, by: By) -> Found {
        Found { name: name.into(), by }
    }

    #[test]
    fn sections_of_stunnel_are_names() {
        let text = "; x\npid = /run/x\n[imaps]\naccept  = 993\nconnect = 143\n[web]\nACCEPT=:::8443\n[c]\nconnect = 1\n";
        assert_eq!(stunnel(text), [found("imaps", By::Port(993)), found("web", By::Port(8443))]);
    }

    #[test]
    fn name_of_the_daemon_of_bacula_is_that_of_its_resource() {
        let text = "# Name = no\nDirector {\n  Name = gate-dir\n}\nFileDaemon {\n  TLS { x = y }\n  Name = \"gate-fd\"\n\
                    FDport = 9102; }\nMessages {\n  Name = Standard\n}\n";
        assert_eq!(bacula_fd(text), [found("gate-fd", By::Unit("bacula-fd.service"))]);
        assert_eq!(bacula_dir(text), [found("gate-dir", By::Unit("bacula-director.service"))]);
        assert_eq!(bacula_sd(text), []);
    }

    #[test]
    fn entries_of_cyrus_are_names() {
        let text = "START {\n recover cmd=\"x\"\n}\nSERVICES {\n\timap\t\tcmd=\"imapd -U 30\" listen=\"imap\" prefork=0\n\
                    # pop3 cmd=\"pop3d\" listen=\"pop3\"\n\tmy cmd=\"imapd -s\" listen=\"127.0.0.1:9993\"\n\
                    \tunix cmd=\"lmtpd\" listen=\"/run/lmtp\"\n}\nEVENTS {\n imaps cmd=\"x\" listen=\"imaps\"\n}\n";
        assert_eq!(cyrus(text), [found("imap", By::Port(143)), found("my", By::Port(9993))]);
    }

    #[test]
    fn dovecot_has_names_of_protocols_if_it_asks() {
        assert_eq!(dovecot("#login_access_sockets = tcpwrap\n"), []);
        assert_eq!(dovecot("login_access_sockets = tcpwrap\n").len(), 5);
    }

    #[test]
    fn services_of_sslh_are_names() {
        let text = "protocols:\n(\n { name: \"ssh\"; service: \"gate\"; host: \"localhost\"; },\n { name: \"tls\"; }\n);\n";
        assert_eq!(sslh(text), [found("gate", By::Unit("sslh.service"))]);
    }
}
