//! Codes of lists, users and words.

use super::{Entry, allow, deny, entry};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::W020,
        "A rule needs at least one daemon and one client.",
        &[deny("sshd:\n")],
        "The rule never matches.",
        &[deny("sshd: ALL\n")],
    ),
    entry(
        Code::W021,
        "EXCEPT takes something away from what stands before it. Nothing stands there.",
        &[deny("sshd: EXCEPT 192.0.2.\n")],
        "The list never matches, so that the rule refuses nobody.",
        &[deny("sshd: ALL EXCEPT 192.0.2.\n")],
    ),
    entry(
        Code::W022,
        "EXCEPT without anything behind it, or with another EXCEPT behind it, takes nothing away.",
        &[deny("sshd: ALL EXCEPT\n")],
        "It is ignored: \"ALL EXCEPT\" is ALL.",
        &[deny("sshd: ALL EXCEPT 192.0.2.\n")],
    ),
    entry(
        Code::W023,
        "Comments stand on lines of their own. Behind a rule # is a client like any other, and so is each word \
         behind it; a colon in the comment even begins an option, which is wrong and refuses.",
        &[allow("sshd: 192.0.2. # the office\n")],
        "It compares clients with the words of the comment, and looks up their names for it.",
        &[allow("# the office\nsshd: 192.0.2.\n")],
    ),
    entry(
        Code::E024,
        "In a table the colons of an IPv6 address separate the fields of the rule, unless the address stands in \
         brackets.",
        &[deny("sshd: 198.51.100.7 2001:db8::1\n")],
        "The rule is cut at the colon: the rest is options, which do not exist, so that whoever matches what is \
         left is refused, in hosts.allow too.",
        &[deny("sshd: 198.51.100.7 [2001:db8::1]\n")],
    ),
    entry(
        Code::H025,
        "The same pattern stands twice in one list.",
        &[deny("sshd: 192.0.2. 198.51.100. 192.0.2.\n")],
        "The second one is never looked at, or in vain.",
        &[deny("sshd: 192.0.2. 198.51.100.\n")],
    ),
    entry(
        Code::H026,
        "ALL matches everything. Patterns behind it, up to an EXCEPT, are never looked at.",
        &[deny("sshd: ALL, 192.0.2.\n")],
        "It stops at ALL.",
        &[deny("sshd: ALL\n")],
    ),
    entry(
        Code::H027,
        "\"a EXCEPT b EXCEPT c\" is read from the right: a, but not b, unless it is c.",
        &[deny("sshd: ALL EXCEPT 192.0.2. EXCEPT 192.0.2.66\n")],
        "It reads it so. 192.0.2.66 is refused here.",
        &[deny("sshd: 192.0.2.66\nsshd: ALL EXCEPT 192.0.2.\n")],
    ),
    entry(
        Code::W028,
        "What is excepted is everything: nothing is left.",
        &[deny("sshd: 192.0.2. EXCEPT ALL\n")],
        "The list never matches.",
        &[deny("sshd: 192.0.2. EXCEPT 192.0.2.7\n")],
    ),
    entry(
        Code::W029,
        "Seen as a whole, the rule's lists leave nobody, though each pattern by itself is right.",
        &[deny("sshd: 192.0.2. EXCEPT 192.0.0.0/16\n")],
        "The rule never matches.",
        &[deny("sshd: 192.0. EXCEPT 192.0.2.0/24\n")],
    ),
    entry(
        Code::W030,
        "\"daemon@\" and \"user@\" need something behind the @: an address or a name of the server, or of the \
         client.",
        &[deny("sshd@: ALL\n")],
        "The pattern never matches.",
        &[deny("sshd@192.0.2.1: ALL\n")],
    ),
    entry(
        Code::W031,
        "@netgroup and /file are patterns for clients. In a daemon list they are names.",
        &[deny("/etc/tcpw/daemons: ALL\n")],
        "It compares the daemon's name with it: that never matches.",
        &[deny("sshd, vsftpd: ALL\n")],
    ),
    entry(
        Code::H032,
        "The part before the @ is the user on the client's side. Only the client's own ident server (RFC 1413) can \
         tell it, and may tell anything. ALL@ asks it too, and then takes any answer.",
        &[allow("sshd: root@192.0.2.7\n")],
        "It asks port 113 of the client when the address matches, and waits up to 10 seconds. tcpw asks \
         once the handshake is complete.",
        &[allow("sshd: 192.0.2.7\n")],
    ),
    entry(
        Code::H033,
        "@netgroup asks the netgroup database for the client's name, which is looked up first. A netgroup \
         entry without a host takes in everybody.",
        &[allow("sshd: @admins\n")],
        "It looks up the name of every client it compares, and the database. tcpw does where the verdict \
         depends on it.",
        &[allow("sshd: 192.0.2.0/24\n")],
    ),
    entry(
        Code::W035,
        "The word is not one of the language, but nearly, or is one of another: the words are ALL, LOCAL, KNOWN, \
         UNKNOWN, PARANOID and EXCEPT.",
        &[deny("sshd: ALL EXECPT 192.0.2.\n")],
        "It is taken for a host's or daemon's name. Behind a misspelt EXCEPT everything matches too.",
        &[deny("sshd: ALL EXCEPT 192.0.2.\n")],
    ),
    entry(
        Code::W036,
        "LOCAL, UNKNOWN, PARANOID and KNOWN are about hosts. In a daemon list the first three are names; KNOWN \
         is every daemon that is not called \"unknown\".",
        &[deny("LOCAL: ALL\n"), allow("sshd: 192.0.2.\n")],
        "It compares the daemon's name with it.",
        &[deny("ALL: LOCAL\n"), allow("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W037,
        "A dot at the start or the end makes a pattern of it: all daemons whose names end or begin so.",
        &[deny("sshd.: ALL\n")],
        "It does not match \"sshd\" here, as that has no dot.",
        &[deny("sshd: ALL\n")],
    ),
    entry(
        Code::W038,
        "Before the @ stands the user's name, ALL, KNOWN, UNKNOWN or a glob. Netgroups, files, LOCAL and \
         PARANOID mean nothing there, and a dot at an end makes a pattern of it.",
        &[deny("sshd: LOCAL@192.0.2.\n")],
        "It asks the client's ident server and compares the answer with it.",
        &[deny("sshd: 192.0.2.\n")],
    ),
    entry(
        Code::W039,
        "FAIL was a wildcard of the first versions. EXCEPT replaced it.",
        &[deny("sshd: FAIL\n")],
        "It is taken for a host's or daemon's name.",
        &[deny("sshd: ALL EXCEPT 192.0.2.\n")],
    ),
];
