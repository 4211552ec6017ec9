//! Names of daemons that ask libwrap, and what addresses look like.
//!
//! Source: the programs of Debian 12 that depend on libwrap0, and the services that inetd
//! and xinetd start, by the names they give themselves.

use std::net::Ipv4Addr;

use crate::parse::{list::split_at, number};

/// Known daemons, sorted.
const DAEMONS: &[&str] = &[
    "Xvnc",
    "amandad",
    "apcupsd",
    "apt-cacher-ng",
    "argus",
    "atftpd",
    "auditd",
    "auth",
    "bacula-dir",
    "bacula-fd",
    "bacula-sd",
    "bftpd",
    "chargen",
    "chargen-dgram",
    "chargen-stream",
    "comsat",
    "conmand",
    "conserver",
    "cups-lpd",
    "cvs",
    "cvspserver",
    "cyrus",
    "danted",
    "daytime",
    "daytime-dgram",
    "daytime-stream",
    "diod",
    "discard",
    "discard-dgram",
    "discard-stream",
    "dovecot",
    "echo",
    "echo-dgram",
    "echo-stream",
    "exec",
    "exim",
    "exim4",
    "finger",
    "ftp",
    "ftp-proxy",
    "gdm",
    "gdm3",
    "git-daemon",
    "gophernicus",
    "identd",
    "imap",
    "imap4d",
    "imapd",
    "imapproxyd",
    "imaps",
    "in.comsat",
    "in.fingerd",
    "in.ftpd",
    "in.gophernicusd",
    "in.identd",
    "in.imapproxyd",
    "in.ntalkd",
    "in.rexecd",
    "in.rlogind",
    "in.rshd",
    "in.talkd",
    "in.telnetd",
    "in.tftpd",
    "in.timed",
    "in.uucpd",
    "innd",
    "ipop2d",
    "ipop3d",
    "ircd",
    "kadmind",
    "klogind",
    "kshd",
    "leafnode",
    "lmtpd",
    "login",
    "lpd",
    "lshd",
    "managesieve-login",
    "mosquitto",
    "mountd",
    "munin-node",
    "nbd-server",
    "nfsd",
    "nmbd",
    "nntpd",
    "nrpe",
    "ntalk",
    "opensm",
    "p910nd",
    "pop3",
    "pop3-login",
    "pop3d",
    "pop3s",
    "popper",
    "portmap",
    "pptpd",
    "proftpd",
    "pulseaudio",
    "pure-ftpd",
    "qpopper",
    "rexec",
    "rinetd",
    "rlinetd",
    "rpc.mountd",
    "rpc.rquotad",
    "rpc.statd",
    "rpcbind",
    "rquotad",
    "rsync",
    "rsyncd",
    "rsyslogd",
    "sendmail",
    "shell",
    "sieve",
    "sips",
    "slapd",
    "smbd",
    "smtpd",
    "snmpd",
    "snmptrapd",
    "socat",
    "sockd",
    "sshd",
    "sslh",
    "statd",
    "stunnel",
    "stunnel4",
    "svnserve",
    "swat",
    "syslog-ng",
    "talk",
    "tcpd",
    "telnet",
    "tftp",
    "thttpd",
    "time",
    "time-dgram",
    "time-stream",
    "upsd",
    "usbipd",
    "uwsgi",
    "vsftpd",
    "wu-ftpd",
    "x11vnc",
    "xinetd",
    "ypbind",
    "yppasswdd",
    "ypserv",
    "ypxfrd",
];

/// Those that run on and judge many clients in one process.
const RESIDENT: &[&str] = &[
    "mosquitto",
    "mountd",
    "portmap",
    "pulseaudio",
    "rpc.mountd",
    "rpcbind",
    "rpc.statd",
    "slapd",
    "snmpd",
    "snmptrapd",
    "statd",
    "stunnel",
    "stunnel4",
    "xinetd",
    "ypserv",
];

/// Whether this is the name of a daemon that asks libwrap.
pub(super) fn is_known(name: &[u8]) -> bool {
    find(DAEMONS, name).is_some()
}

/// The name as it is known.
pub(super) fn find_known(name: &[u8]) -> Option<&'static str> {
    find(DAEMONS, name)
}

/// Whether one process of this name judges many clients.
pub(crate) fn is_resident(name: &[u8]) -> bool {
    find(RESIDENT, name).is_some()
}

/// Daemons whose names are looked for in what is misspelt. Of the others many differ from an honest
/// name in one letter.
const COMMON: &[&str] = &[
    "dovecot",
    "in.ftpd",
    "in.telnetd",
    "portmap",
    "proftpd",
    "rpcbind",
    "sendmail",
    "slapd",
    "sshd",
    "vsftpd",
];

/// Daemons that do not ask libwrap, and whose names are near one that does.
const OTHERS: &[&str] = &["slpd", "sftpd"];

/// A common daemon whose name differs in one letter that is not the first.
pub(super) fn near_daemon(name: &str) -> Option<&'static str> {
    let near = |known: &&&str| {
        let may_be = known.get(..1) == name.get(..1) && known.len().abs_diff(name.len()) <= 1;
        may_be && strsim::osa_distance(known, name) == 1
    };
    COMMON.iter().find(near).filter(|_| !OTHERS.contains(&name)).copied()
}

fn find(names: &[&'static str], name: &[u8]) -> Option<&'static str> {
    names.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name)).copied()
}

/// What a word that looks like a client's address is.
pub(super) enum Address {
    /// One address.
    One,
    /// The beginning of one, or a network.
    Many,
}

/// Reads a word that looks like an address: four parts, a prefix, a network or brackets.
pub(super) fn address_part(word: &[u8]) -> Option<Address> {
    if let [b'[', inner @ .., b']'] = word {
        return number::ipv6(inner).map(|_| Address::One);
    }
    if let Some(at) = split_at(word, b'/') {
        return address_part(&word[..at]).map(|_| Address::Many);
    }
    let text = std::str::from_utf8(word).ok()?;
    if text.parse::<Ipv4Addr>().is_ok() {
        return Some(Address::One);
    }
    let parts = text.strip_suffix('.')?;
    parts.split('.').all(|part| part.parse::<u8>().is_ok()).then_some(Address::Many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_single() {
        assert!(DAEMONS.is_sorted_by(|a, b| a < b));
        assert!(RESIDENT.iter().all(|name| is_known(name.as_bytes())));
    }

    #[test]
    fn addresses_are_told_from_names() {
        for word in ["10.1.2.3", "10.", "10.1.", "10.0.0.0/8", "[::1]", "[fe80::]/10"] {
            assert!(address_part(word.as_bytes()).is_some(), "{word}");
        }
        for word in ["sshd", "10", "22", "[x]", "a.b.c.d", ".1", "in.ftpd", "10.x."] {
            assert!(address_part(word.as_bytes()).is_none(), "{word}");
        }
    }
}
