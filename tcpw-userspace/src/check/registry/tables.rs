//! Codes of the tables as a whole.

use super::{Entry, allow, deny, entry};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::W140,
        "The same daemons, clients and options stand there a second time.",
        &[allow("sshd: 192.0.2.7\nvsftpd: 192.0.2.9\nsshd:192.0.2.7\n"), deny("ALL: ALL\n")],
        "The first one decides.",
        &[allow("sshd: 192.0.2.7\nvsftpd: 192.0.2.9\n"), deny("ALL: ALL\n")],
    ),
    entry(
        Code::W141,
        "hosts.allow is read first, then hosts.deny, each from the top, and the first rule that matches decides. \
         Every client of every daemon that this rule names is taken by rules before it. They are found from the \
         address ranges of all rules, so that also several of them together count.",
        &[allow("ALL: 192.0.2.\n"), deny("sshd: 192.0.2.66\n")],
        "It never gets as far as this rule.",
        &[allow("sshd: 192.0.2.66: deny\nALL: 192.0.2.\n")],
    ),
    entry(
        Code::W142,
        "A rule of hosts.deny refuses everybody, and no rule before it lets anybody in.",
        &[deny("ALL: ALL\n")],
        "It refuses every connection.",
        &[deny("ALL: ALL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::H143,
        "No rule of either table can refuse anybody: what no rule matches is allowed.",
        &[allow("sshd: ALL\n"), deny("# nothing\n")],
        "It allows every connection.",
        &[allow("sshd: 192.0.2.\n"), deny("ALL: ALL\n")],
    ),
    entry(
        Code::W144,
        "A rule of hosts.deny refuses everybody, and of the rules that let somebody in none is for sshd.",
        &[allow("vsftpd: 192.0.2.\n"), deny("ALL: ALL\n")],
        "It refuses every ssh connection.",
        &[allow("vsftpd, sshd: 192.0.2.\n"), deny("ALL: ALL\n")],
    ),
];
