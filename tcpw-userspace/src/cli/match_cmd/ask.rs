//! `DAEMON[@SERVER] [USER@]CLIENT` to questions for the evaluator.
//!
//! Out: one question for each address of the client.
//! Source: tcpdmatch(8), whose arguments are all taken.

use std::net::IpAddr;

use crate::{
    cli::Failure,
    evaluate::{numeric_host, request::HostName},
    parse::{list::split_at, number},
    resolve::SystemResolver,
};

/// A connection: client, daemon and server's end.
#[derive(Clone, Debug)]
pub(super) struct AskedConnection {
    /// The daemon.
    pub(super) daemon: String,
    /// The port it listens on.
    pub(super) port: Option<u16>,
    /// The server's end.
    pub(super) server: End,
    /// The client's end.
    pub(super) client: End,
    /// The client's user.
    pub(super) user: Option<String>,
}

/// One end of the connection.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Its address as text.
    pub(super) address: Option<String>,
    /// The same, to ask for its name.
    pub(super) ip: Option<IpAddr>,
    /// Its name, if no look-up is to find it.
    pub(super) name: Option<HostName>,
    /// Whether its name is looked up when a rule asks for it.
    pub(super) resolve: bool,
}

impl End {
    const UNKNOWN: Self = Self { address: None, ip: None, name: Some(HostName::Unknown), resolve: false };

    fn at(ip: IpAddr, address: String, resolve: bool) -> Self {
        Self { address: Some(address), ip: Some(ip), name: None, resolve }
    }
}

/// Reads the arguments; names of hosts are looked up, names of addresses are not yet.
///
/// # Errors
/// They are none, or there is no such host.
pub(super) fn questions(
    daemon: &str,
    client: &str,
    port: Option<u16>,
    resolve: bool,
) -> Result<Vec<AskedConnection>, Failure> {
    let (daemon, server) = match split(daemon) {
        (daemon, None) => (daemon, End::UNKNOWN),
        (daemon, Some(server)) => (daemon, only_end(server)?),
    };
    // A path stands for the daemon's name.
    let daemon = if daemon.starts_with('/') { daemon.rsplit('/').next().unwrap_or(daemon) } else { daemon };
    if daemon.is_empty() {
        return Err(Failure::usage("no daemon: write its name first, as in \"tcpw match sshd 192.0.2.1\""));
    }
    let (user, client) = match split(client) {
        (client, None) => (None, client),
        (user, Some(client)) => (Some(user).filter(|user| !user.is_empty()), client),
    };
    let question = |client| AskedConnection {
        daemon: daemon.into(),
        port: port
            .or_else(|| daemon.bytes().all(|byte| byte.is_ascii_digit()).then(|| daemon.parse().ok())?),
        server: server.clone(),
        client,
        user: user.map(Into::into),
    };
    Ok(ends(client, resolve)?.into_iter().map(question).collect())
}

/// `left@right`; brackets may hold any `@`.
fn split(text: &str) -> (&str, Option<&str>) {
    match split_at(text.as_bytes(), b'@') {
        None => (text, None),
        Some(at) => (&text[..at], Some(&text[at + 1..])),
    }
}

/// The server's end: its address is looked up where a rule asks for its name.
fn only_end(text: &str) -> Result<End, Failure> {
    let ends = ends(text, true)?;
    let addresses: Vec<&str> = ends.iter().filter_map(|end| end.address.as_deref()).collect();
    match &ends[..] {
        [end] => Ok(end.clone()),
        _ => Err(Failure::Usage(format!(
            "{text} has more than one address: write one of them, {}",
            addresses.join(" or ")
        ))),
    }
}

fn ends(text: &str, resolve: bool) -> Result<Vec<End>, Failure> {
    if text.eq_ignore_ascii_case("unknown") {
        return Ok(vec![End::UNKNOWN]);
    }
    if text.eq_ignore_ascii_case("paranoid") {
        return Ok(vec![End { name: Some(HostName::Paranoid), ..End::UNKNOWN }]);
    }
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Some((ip, address)) = address(inner) {
        return Ok(vec![End::at(ip, address, resolve)]);
    }
    let not_found = || {
        let text = if text.is_empty() { "\"\"" } else { text };
        Failure::Usage(format!(
            "{text}: no such host: write an address, a host name that can be looked up, \"unknown\" or \"paranoid\""
        ))
    };
    if inner.is_empty() || inner != text {
        return Err(not_found());
    }
    // Verified, the name may turn out to be another.
    let ends: Vec<End> = SystemResolver
        .addresses(text.as_bytes())
        .into_iter()
        .map(|ip| End::at(ip, numeric_host(ip), true))
        .collect();
    if ends.is_empty() { Err(not_found()) } else { Ok(ends) }
}

/// An address, in any spelling the C library takes, and as it prints it; the zone as it was written.
fn address(text: &str) -> Option<(IpAddr, String)> {
    if let Some((_, zone)) = text.split_once('%') {
        let (ip, _) = number::ipv6(text.as_bytes())?;
        return Some((ip.into(), format!("{}%{zone}", numeric_host(ip.into()))));
    }
    let ip = text.parse().ok().or_else(|| SystemResolver.numeric(text.as_bytes()))?;
    Some((ip, numeric_host(ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(daemon: &str, client: &str) -> Result<String, String> {
        let questions = questions(daemon, client, None, false).map_err(|failure| match failure {
            Failure::Usage(text) => text,
            Failure::Runtime(error) => error.to_string(),
        })?;
        let end = |end: &End| match (&end.address, &end.name) {
            (Some(address), _) => address.clone(),
            (None, name) => format!("{name:?}"),
        };
        let one = |question: &AskedConnection| {
            format!(
                "{}:{:?} {} {:?} {}",
                question.daemon,
                question.port,
                end(&question.server),
                question.user,
                end(&question.client)
            )
        };
        Ok(questions.iter().map(one).collect::<Vec<_>>().join("; "))
    }

    macro_rules! reads {
        ($($name:ident: $daemon:expr, $client:expr => $want:expr;)*) => {
            $(#[test] fn $name() { assert_eq!(shown($daemon, $client).as_deref(), Ok($want)); })*
        };
    }

    reads! {
        plain: "sshd", "192.0.2.1" => "sshd:None Some(Unknown) None 192.0.2.1";
        user: "sshd", "joe@192.0.2.1" => "sshd:None Some(Unknown) Some(\"joe\") 192.0.2.1";
        empty_user_is_none: "sshd", "@192.0.2.1" => "sshd:None Some(Unknown) None 192.0.2.1";
        server: "sshd@10.0.0.1", "192.0.2.1" => "sshd:None 10.0.0.1 None 192.0.2.1";
        v6: "sshd@[2001:DB8::1]", "2001:db8::2" => "sshd:None 2001:db8::1 None 2001:db8::2";
        bracketed: "sshd", "joe@[::1]" => "sshd:None Some(Unknown) Some(\"joe\") ::1";
        mapped_stays: "sshd", "::ffff:192.0.2.1" => "sshd:None Some(Unknown) None ::ffff:192.0.2.1";
        zone: "sshd", "fe80::1%lo" => "sshd:None Some(Unknown) None fe80::1%lo";
        short_address: "sshd", "1.2.3" => "sshd:None Some(Unknown) None 1.2.0.3";
        unknown: "sshd", "UNKNOWN" => "sshd:None Some(Unknown) None Some(Unknown)";
        paranoid: "sshd@paranoid", "Paranoid" => "sshd:None Some(Paranoid) None Some(Paranoid)";
        path: "/usr/sbin/sshd", "192.0.2.1" => "sshd:None Some(Unknown) None 192.0.2.1";
        digits_are_a_port: "22", "192.0.2.1" => "22:Some(22) Some(Unknown) None 192.0.2.1";
        large_digits_are_a_name: "70000", "192.0.2.1" => "70000:None Some(Unknown) None 192.0.2.1";
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for client in ["", "joe@", "[192.0.2", "[good.example]", "::1%", "192.0.2.1/24", "a b"] {
            assert!(shown("sshd", client).is_err_and(|text| text.contains("no such host")), "{client}");
        }
        assert!(shown("", "192.0.2.1").is_err_and(|text| text.starts_with("no daemon")));
        assert!(shown("@sshd", "192.0.2.1").is_err());
    }
}
