//! Codes of addresses and their prefixes.

use super::{Entry, allow, deny, entry, file};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::W051,
        "A pattern with a dot at its start is the end of a name, and of an address as well.",
        &[deny("sshd: .100.7\n")],
        "It matches 198.51.100.7, 10.9.100.7 and all that end so.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W052,
        "An address prefix is one to three parts, each with a dot behind it.",
        &[deny("sshd: 198.51.100.7.\n")],
        "No address begins so: the pattern never matches.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W053,
        "An address is four decimal parts without leading zeros, compared as text. Fewer parts need a dot at \
         the end.",
        &[deny("sshd: 198.51.100\n")],
        "No address is spelt so: the pattern never matches.",
        &[deny("sshd: 198.51.100.\n")],
    ),
    entry(
        Code::W056,
        "A glob is compared with the address and, unlike a prefix, with the name too. A client who owns a domain \
         can call himself 198.51.100.7.evil.test, forward and reverse.",
        &[allow("sshd: 198.51.100.*\n")],
        "It looks up the name of each client whose address does not match, and believes it.",
        &[allow("sshd: 198.51.100.\n")],
    ),
    entry(
        Code::W057,
        "An IPv6 address without brackets (only a pattern file can hold one) is compared as text with the \
         address as it is usually spelt: small letters, zeros left out, the longest gap as two colons.",
        &[deny("sshd: /etc/tcpw/blocked\n"), file("/etc/tcpw/blocked", "2001:DB8:0::7\n")],
        "It never matches, as the client is called 2001:db8::7.",
        &[deny("sshd: /etc/tcpw/blocked\n"), file("/etc/tcpw/blocked", "[2001:db8::7]\n")],
    ),
    entry(
        Code::W110,
        "A part of an IPv4 address is at most 255.",
        &[deny("sshd: 198.51.300.\n")],
        "No address begins so: the pattern never matches.",
        &[deny("sshd: 198.51.100.\n")],
    ),
    entry(
        Code::W111,
        "An address prefix is compared as text, and addresses have no leading zeros.",
        &[deny("sshd: 198.051.100.\n")],
        "No address begins so: the pattern never matches.",
        &[deny("sshd: 198.51.100.\n")],
    ),
    entry(
        Code::W112,
        "There are no ranges, and x is no digit. A prefix or a network says most of them.",
        &[deny("sshd: 198.51.100.7-198.51.100.99\n")],
        "It is taken for a host's name: it never matches, and costs a look-up of each client.",
        &[deny("sshd: 198.51.100.0/26 198.51.100.64/27\n")],
    ),
    entry(
        Code::W117,
        "* and ? make a glob of the whole word, brackets included, and no address has brackets.",
        &[deny("sshd: [2001:db8:*]\n")],
        "The pattern never matches, and costs a look-up of each client.",
        &[deny("sshd: [2001:db8::]/32\n")],
    ),
    entry(
        Code::W119,
        "No client has the address 0.0.0.0 or 255.255.255.255.",
        &[deny("sshd: 0.0.0.0\n")],
        "The pattern never matches.",
        &[deny("sshd: ALL\n")],
    ),
];
