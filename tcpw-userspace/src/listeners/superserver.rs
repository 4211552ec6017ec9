//! The services of a super-server: names from its configuration, by port.
//!
//! In: a process that is xinetd, inetd or systemd, and its files. Out: for a local
//! address the service's names and its ident in the log.
//! Invariant: only a privileged super-server counts; its own name is never a service's.

use std::{
    ffi::OsStr,
    net::{IpAddr, SocketAddr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    NameSource, XinetdService,
    config_files::{ConfigFiles, UNIT_DIRECTORIES},
    inetd, names,
    process::ProcessInfo,
    proof::{Claim, ProcessFacts, Proof, given},
    services,
    socket_unit::SocketUnit,
    xinetd::{self, XinetdServiceEntry},
};
/// The role of a process that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A daemon that listens for itself.
    Ordinary,
    /// It holds sockets for others: process 1, systemd.
    Init,
    /// xinetd.
    Xinetd,
    /// inetd.
    Inetd,
}

/// The role of a process, by its executable.
pub(super) fn role(process: &ProcessInfo) -> Role {
    if process.pid == 1 {
        return Role::Init;
    }
    let is_trusted = process.is_privileged && process.is_run_by_root().is_ok();
    match process.executable_name() {
        Some(b"systemd" | b"init") => Role::Init,
        Some(b"xinetd" | b"xinetd-ipv6") if is_trusted => Role::Xinetd,
        Some(b"inetd" | b"inetutils-inetd" | b"openbsd-inetd") if is_trusted => Role::Inetd,
        Some(_) | None => Role::Ordinary,
    }
}

/// The names of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) claims: Vec<Claim>,
    pub(super) ident: String,
    pub(super) found: NameSource,
    pub(super) service: Option<XinetdService>,
}

/// The services a process listens for.
pub(super) enum Configuration {
    /// None, or none that can be read.
    Nothing,
    /// xinetd's, each with its port, and xinetd's own ident in the log.
    Xinetd(Vec<(u16, XinetdServiceEntry)>, String),
    /// inetd's, each with its port.
    Inetd(Vec<(u16, inetd::InetdService)>),
    /// systemd's socket units.
    Systemd(Vec<SocketUnit>),
}

impl Configuration {
    /// Reads the configuration of `process`.
    pub(super) fn read(proc_root: &Path, process: &ProcessInfo) -> Self {
        let role = role(process);
        let is_systemd = process.pid == 1 && process.executable_name() == Some(b"systemd");
        if !is_systemd && !matches!(role, Role::Xinetd | Role::Inetd) {
            return Self::Nothing;
        }
        let Ok(files) = ConfigFiles::of(proc_root, process) else {
            return Self::Nothing;
        };
        if is_systemd {
            return Self::Systemd(files.socket_units(&UNIT_DIRECTORIES));
        }
        let ports = files.text(Path::new("/etc/services")).unwrap_or_default();
        if role == Role::Xinetd {
            let entries = files.xinetd(&xinetd_path(process));
            Self::Xinetd(with_ports(xinetd::services(entries), &ports), names::ident(process))
        } else {
            let text = files.text(&inetd_path(process)).unwrap_or_default();
            let services = inetd::parse(&text).into_iter().filter_map(|service| {
                let port = service.name.parse().ok();
                let protocol = protocol(service.is_udp);
                Some((port.or_else(|| services::port(&ports, &service.name, protocol))?, service))
            });
            Self::Inetd(services.collect())
        }
    }

    /// The names of the service at a local address; `None` if the configuration has none there. `by` is the
    /// super-server and its socket.
    pub(super) fn name(&self, local: SocketAddr, is_udp: bool, by: ProcessFacts<'_>) -> Option<Named> {
        match self {
            Self::Nothing => None,
            Self::Xinetd(services, ident) => {
                let service = at(services, local, is_udp)?;
                Some(Named {
                    claims: given(service.names(), by, Proof::SuperServer),
                    ident: ident.clone(),
                    found: NameSource::Xinetd,
                    service: Some(XinetdService { id: service.id.clone() }),
                })
            }
            Self::Inetd(services) => {
                let (_, service) = services
                    .iter()
                    .find(|(port, service)| *port == local.port() && service.is_udp == is_udp)?;
                Some(Named {
                    claims: given(service.names(), by, Proof::SuperServer),
                    ident: service.daemon().into(),
                    found: NameSource::Inetd,
                    service: None,
                })
            }
            Self::Systemd(units) => {
                let unit = units.iter().find(|unit| unit.listens_at(local, is_udp))?;
                Some(Named {
                    claims: given(unit.names(), by, Proof::SuperServer),
                    ident: unit.ident().to_owned(),
                    found: NameSource::Systemd,
                    service: None,
                })
            }
        }
    }
}

fn protocol(is_udp: bool) -> &'static str {
    if is_udp { "udp" } else { "tcp" }
}

/// The TCP and UDP services that have a port of their own, with it.
fn with_ports(services: Vec<XinetdServiceEntry>, ports: &str) -> Vec<(u16, XinetdServiceEntry)> {
    let is_own = |service: &XinetdServiceEntry| {
        (service.is_tcp() || service.is_udp())
            && !["RPC", "TCPMUX", "TCPMUXPLUS"].iter().any(|kind| service.is_of_type(kind))
    };
    services
        .into_iter()
        .filter(is_own)
        .filter_map(|service| {
            let port =
                service.port.or_else(|| services::port(ports, &service.name, protocol(service.is_udp())))?;
            Some((port, service))
        })
        .collect()
}

/// Of several services at a port, the one bound to this address, then one of this family,
/// then any that is not bound to another address.
fn at(
    services: &[(u16, XinetdServiceEntry)],
    local: SocketAddr,
    is_udp: bool,
) -> Option<&XinetdServiceEntry> {
    let rank = |service: &XinetdServiceEntry| {
        let flag = if local.is_ipv4() { "IPv4" } else { "IPv6" };
        let other = if local.is_ipv4() { "IPv6" } else { "IPv4" };
        match service.bind.as_deref().map(str::parse::<IpAddr>) {
            Some(Ok(bind)) if bind.to_canonical() == local.ip().to_canonical() => Some(4),
            Some(Ok(_)) => None,
            // A host name: it may be this address.
            Some(Err(_)) if !local.ip().is_unspecified() => Some(3),
            Some(Err(_)) => None,
            None if service.has_flag(flag) => Some(2),
            None if service.has_flag(other) => Some(0),
            None => Some(1),
        }
    };
    let ranked = services
        .iter()
        .filter(|(port, service)| *port == local.port() && service.is_udp() == is_udp)
        .filter_map(|(_, service)| Some((rank(service)?, service)));
    // The first of equals: xinetd cannot bind the later ones.
    ranked.rev().max_by_key(|(rank, _)| *rank).map(|(_, service)| service)
}

/// `-f FILE` of the command line, else the default.
fn xinetd_path(process: &ProcessInfo) -> PathBuf {
    let mut arguments = process.arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == b"-f" {
            return arguments.next().map_or_else(PathBuf::new, |path| path_of(path));
        }
    }
    PathBuf::from("/etc/xinetd.conf")
}

/// The first argument that is no option, else the default.
fn inetd_path(process: &ProcessInfo) -> PathBuf {
    let mut arguments = process.arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_slice() {
            // Options with a value: of openbsd-inetd and of inetutils.
            b"-q" | b"-R" | b"-a" | b"-p" => drop(arguments.next()),
            other if other.starts_with(b"-") => {}
            path => return path_of(path),
        }
    }
    PathBuf::from("/etc/inetd.conf")
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(executable: &str, arguments: &[&str]) -> ProcessInfo {
        ProcessInfo {
            pid: 77,
            executable: Some(executable.into()),
            arguments: arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
            is_privileged: true,
            ..ProcessInfo::default()
        }
    }

    fn id(text: &str, local: &str) -> Option<String> {
        id_over(text, local, false)
    }

    fn id_over(text: &str, local: &str, is_udp: bool) -> Option<String> {
        let services = with_ports(xinetd::services(xinetd::parse(text).0), "daytime 13/tcp\ntftp 69/udp\n");
        at(&services, local.parse().unwrap(), is_udp).map(|service| service.id.clone())
    }

    #[test]
    fn port_comes_from_the_entry_or_from_etc_services() {
        let text = "service daytime\n{\nid = d\nsocket_type = stream\n}\n\
                    service x\n{\nport = 99\nprotocol = tcp\n}\n\
                    service u\n{\nport = 98\nprotocol = udp\n}\n";
        assert_eq!(id(text, "[::]:13").as_deref(), Some("d"));
        assert_eq!(id(text, "0.0.0.0:99").as_deref(), Some("x"));
        assert_eq!(id(text, "0.0.0.0:98"), None);
        assert_eq!(id_over(text, "0.0.0.0:98", true).as_deref(), Some("u"));
        assert_eq!(id_over(text, "0.0.0.0:99", true), None);
        let text = "service tftp\n{\nsocket_type = dgram\n}\n";
        assert_eq!(id_over(text, "0.0.0.0:69", true).as_deref(), Some("tftp"));
    }

    #[test]
    fn bound_service_comes_before_the_others_of_its_port() {
        let text = "service any\n{\nport = 9\nprotocol = tcp\n}\n\
                    service six\n{\nport = 9\nprotocol = tcp\nflags = IPv6\n}\n\
                    service one\n{\nport = 9\nprotocol = tcp\nbind = 10.0.0.1\n}\n";
        assert_eq!(id(text, "10.0.0.1:9").as_deref(), Some("one"));
        assert_eq!(id(text, "[::ffff:10.0.0.1]:9").as_deref(), Some("one"));
        assert_eq!(id(text, "[::]:9").as_deref(), Some("six"));
        assert_eq!(id(text, "0.0.0.0:9").as_deref(), Some("any"));
    }

    #[test]
    fn configuration_file_is_taken_from_the_command_line() {
        let path = |arguments: &[&str]| xinetd_path(&process("/usr/sbin/xinetd", arguments));
        assert_eq!(path(&["xinetd", "-dontfork", "-f", "x.conf"]), Path::new("x.conf"));
        assert_eq!(path(&["xinetd", "-stayalive"]), Path::new("/etc/xinetd.conf"));
        let path = |arguments: &[&str]| inetd_path(&process("/usr/sbin/inetd", arguments));
        assert_eq!(path(&["inetd", "-d", "-q", "9", "/tmp/i"]), Path::new("/tmp/i"));
        assert_eq!(path(&["inetd", "-l"]), Path::new("/etc/inetd.conf"));
    }

    #[test]
    fn unprivileged_super_server_is_not_believed() {
        let mut liar = process("/home/x/xinetd", &["xinetd"]);
        assert_eq!(role(&liar), Role::Xinetd);
        liar.is_privileged = false;
        assert_eq!(role(&liar), Role::Ordinary);
    }
}
