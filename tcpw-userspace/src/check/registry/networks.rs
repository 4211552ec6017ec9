//! Codes of networks.

use super::{Entry, allow, deny, entry};
use crate::parse::code::Code;

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        Code::W040,
        "In a network, and only there, the C library reads the numbers: one with a leading 0 is octal, one with \
         0x hexadecimal.",
        &[deny("sshd: 010.0.0.0/8\n")],
        "It matches 8.0.0.0/8.",
        &[deny("sshd: 10.0.0.0/8\n")],
    ),
    entry(
        Code::W041,
        "A client matches if its address, cut by the mask, equals the network as it is written. A network with \
         bits behind the mask equals no such address.",
        &[deny("sshd: 198.51.100.7/24\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: 198.51.100.0/24\n")],
    ),
    entry(
        Code::W042,
        "The number of a prefix length ends at the first character that is no digit.",
        &[deny("sshd: 198.51.100.0/24x\n")],
        "It reads 24 and forgets the rest.",
        &[deny("sshd: 198.51.100.0/24\n")],
    ),
    entry(
        Code::W043,
        "An IPv6 network without a length, or with a word for it, has the length 0.",
        &[allow("sshd: [2001:db8::1]/\n")],
        "It matches every IPv6 client there is.",
        &[allow("sshd: [2001:db8::1]\n")],
    ),
    entry(
        Code::W044,
        "A client that reaches an IPv6 socket over IPv4 is judged by its IPv4 address. ::ffff:a.b.c.d is never \
         seen in brackets.",
        &[deny("sshd: [::ffff:198.51.100.0]/120\n")],
        "The pattern never matches.",
        &[deny("sshd: 198.51.100.0/24\n")],
    ),
    entry(
        Code::H045,
        "Bits behind an IPv6 prefix length do not matter, other than with IPv4.",
        &[deny("sshd: [2001:db8::7]/32\n")],
        "It ignores them.",
        &[deny("sshd: [2001:db8::]/32\n")],
    ),
    entry(
        Code::W046,
        "An IPv6 prefix length is a number from 0 to 128.",
        &[deny("sshd: [2001:db8::]/129\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: [2001:db8::]/32\n")],
    ),
    entry(
        Code::W047,
        "Brackets stand around an IPv6 address, and around nothing else.",
        &[deny("sshd: [198.51.100.0]/24\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: 198.51.100.0/24\n")],
    ),
    entry(
        Code::W048,
        "An IPv6 network has brackets around its address, in pattern files too, where the address alone may go \
         without.",
        &[deny("sshd: /etc/tcpw/blocked\n"), super::file("/etc/tcpw/blocked", "2001:db8::/32\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: /etc/tcpw/blocked\n"), super::file("/etc/tcpw/blocked", "[2001:db8::]/32\n")],
    ),
    entry(
        Code::W049,
        "A network is four decimal parts and a mask, or an IPv6 address in brackets and a length. ALL is not a \
         network, and parts cannot be left out.",
        &[deny("sshd: 198.51/16\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: 198.51.0.0/16\n")],
    ),
    entry(
        Code::W050,
        "An IPv4 mask is a number from 1 to 32, or dotted. 0 is none of them, and 255.255.255.255 is what the C \
         library returns for an error. Every client is ALL; every IPv4 client is 0.0.0.0/0.0.0.0.",
        &[deny("sshd: 0.0.0.0/0\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: ALL\n")],
    ),
    entry(
        Code::W054,
        "A client that reaches an IPv6 socket over IPv4 is judged by its IPv4 address. ::ffff:a.b.c.d is never \
         seen in brackets.",
        &[deny("sshd: [::ffff:198.51.100.7]\n")],
        "The pattern never matches.",
        &[deny("sshd: 198.51.100.7\n")],
    ),
    entry(
        Code::W055,
        "Between the brackets stands one IPv6 address. The length of a network stands behind them; before \
         version 7.6-ipv6.2 it stood within.",
        &[deny("sshd: [2001:db8::/32]\n")],
        "The pattern never matches, without a warning.",
        &[deny("sshd: [2001:db8::]/32\n")],
    ),
    entry(
        Code::W058,
        "The zone behind % must be an interface of this host. It is not compared, and can as well be left out.",
        &[deny("sshd: [fe80::1%nosuchif0]\n"), super::is("/sys/class/net/nosuchif0", super::State::Missing)],
        "The address cannot be read: the pattern never matches.",
        &[deny("sshd: [fe80::1]\n")],
    ),
    entry(
        Code::W059,
        "The bits of the mask are not ones and then zeros. That is allowed, and mostly a mistake: routers of \
         some makes want the mask the other way round.",
        &[deny("sshd: 198.51.100.0/0.0.0.255\n")],
        "It compares the bits where the mask is 1, wherever they are.",
        &[deny("sshd: 198.51.100.0/255.255.255.0\n")],
    ),
    entry(
        Code::W109,
        "The length 0 leaves nothing of the address to compare.",
        &[allow("sshd: [2001:db8::]/0\n")],
        "It matches every IPv6 client there is.",
        &[allow("sshd: [2001:db8::]/32\n")],
    ),
];
