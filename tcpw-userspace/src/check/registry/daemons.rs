//! Codes of daemon names.

use super::{Entry, allow, deny, entry};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::H100,
        "A daemon asks libwrap under a name it chooses, mostly that of its program. No program of this name is \
         known to ask.",
        &[deny("nginx: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It hears nothing of programs that do not ask. tcpw judges every daemon of that name, whether it asks \
         libwrap or not.",
        &[deny("vsftpd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W101,
        "The daemon calls itself otherwise: the ssh daemon is sshd, whatever its service or package is called. \
         tcpw knows a listener by the name of its service too, libwrap does not.",
        &[deny("ssh: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It compares with the name the daemon gives itself: the rule does not match.",
        &[deny("sshd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H102,
        "Daemons for inetd mostly have names that begin with in., and tcpd takes the name of the program.",
        &[deny("telnetd: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It compares with the name of the program that inetd or xinetd starts.",
        &[deny("in.telnetd: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W104,
        "A daemon that is written as a number is the port it listens on, from 1 to 65535.",
        &[deny("70000: ALL\n"), allow("sshd: 192.0.2.\n")],
        "A number above 65535 is taken for a daemon's name; no service has port 0.",
        &[deny("7000: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W105,
        "Numbers are read with signs, leading zeros and overflows.",
        &[deny("0022: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It takes it for the port, and never for a name.",
        &[deny("22: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W106,
        "There are no ranges of ports and no protocols, and services are not looked up by name.",
        &[deny("8000-8080: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It is taken for a daemon's name, and never matches.",
        &[deny("8000 8080: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W107,
        "The first list is that of the daemons, the second that of the clients.",
        &[deny("198.51.100.7: sshd\n")],
        "It compares the daemon's name with the address: the rule never matches.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
];
