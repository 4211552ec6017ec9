//! Codes of host names.

use super::{Entry, allow, deny, entry};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::H034,
        "The pattern is compared with the client's address, then with its name. The name comes from a reverse \
         look-up, and counts only if a look-up of that name leads back to the address.",
        &[allow("sshd: .example.com\n")],
        "It looks up the name of each client that no earlier pattern matched, while that client waits. A rule \
         for addresses before this one spares its clients the look-up. tcpw looks a name \
         up where the verdict depends on it.",
        &[allow("sshd: 192.0.2.0/24\n")],
    ),
    entry(
        Code::W113,
        "A dot at the end does not make a name absolute here: it makes a prefix of it. Before a dot at the start \
         it even hides that.",
        &[allow("sshd: gate.example.com.\n")],
        "It matches all names that begin so, such as gate.example.com.evil.test, and not gate.example.com.",
        &[allow("sshd: gate.example.com\n")],
    ),
    entry(
        Code::H114,
        "Reverse look-ups mostly give names with a domain. A name without one matches only where /etc/hosts, or \
         a resolver that cuts domains, gives such names.",
        &[allow("sshd: gate\n")],
        "It compares the whole name: \"gate\" is not \"gate.example.com\".",
        &[allow("sshd: gate.example.com\n")],
    ),
    entry(
        Code::W115,
        "A host name has letters, digits, hyphens, underscores and dots, and at most 127 bytes count. The C \
         library drops a name with anything else; names in other scripts are written as DNS has them (xn--...).",
        &[allow("sshd: caf\u{e9}.example.com\n")],
        "The pattern never matches, and costs a look-up of each client.",
        &[allow("sshd: xn--caf-dma.example.com\n")],
    ),
    entry(
        Code::W118,
        "The pattern is about the beginning of a name. Whoever owns any domain can give a host of it a name that \
         begins so, forward and reverse, and so pass for it.",
        &[allow("sshd: admin.\n")],
        "It matches admin.evil.test as well.",
        &[allow("sshd: admin.example.com\n")],
    ),
    entry(
        Code::H132,
        "LOCAL is every client whose name has no dot. Whether a name of the own domain comes with a dot is the \
         resolver's choice (/etc/hosts, the order in nsswitch.conf), and may change with any update.",
        &[allow("sshd: LOCAL\n")],
        "It looks up the name of each client that no earlier pattern matched. tcpw does where \
         the verdict depends on it.",
        &[allow("sshd: 192.0.2.0/24\n")],
    ),
    entry(
        Code::H133,
        "KNOWN is every client whose name can be looked up there and back. When the name server does not \
         answer, nobody is known.",
        &[allow("sshd: KNOWN\n")],
        "It looks up the name of each client that no earlier pattern matched. tcpw does where \
         the verdict depends on it.",
        &[allow("sshd: ALL\n")],
    ),
    entry(
        Code::H134,
        "PARANOID is every client whose name does not lead back to its address. Careless DNS is common, and a \
         client whose reverse entry names an alias, or a name without an address of its family, is PARANOID \
         too. It is no protection: a client that wants to hide has no name at all.",
        &[deny("sshd: PARANOID\n")],
        "It looks up the name of each client that no earlier pattern matched. tcpw does where \
         the verdict depends on it.",
        &[deny("sshd: 198.51.100.0/24\n")],
    ),
    entry(
        Code::W135,
        "UNKNOWN is every client without a name. A client decides by itself whether its address has a reverse \
         entry, so a rule that lets UNKNOWN in lets in everybody who wants to.",
        &[allow("sshd: UNKNOWN\n"), deny("sshd: ALL\n")],
        "It looks up each client's name, and lets in those that have none.",
        &[allow("sshd: 192.0.2.0/24\n"), deny("sshd: ALL\n")],
    ),
];
