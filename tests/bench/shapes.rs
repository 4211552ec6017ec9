//! Texts of 10 MB that a parser may choke on.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tcpw_userspace::parse::text::{FileText, Texts};

/// Size of each text.
const SIZE: usize = 10_000_000;

/// How a text is made.
pub(crate) enum Make {
    /// hosts.allow: this, over and over.
    Repeat(&'static [u8]),
    /// hosts.allow: lines with a head, almost as long as libwrap allows with this over and over, and an end.
    Lines(&'static [u8], &'static [u8], &'static [u8]),
    /// hosts.allow: one line without an end.
    OneLine(&'static [u8]),
    /// A pattern file: this, over and over.
    File(&'static [u8]),
    /// hosts.allow names so many pattern files, none of which is there.
    Names(usize),
}

/// Every shape, by name.
pub(crate) const SHAPES: [(&str, Make); 22] = [
    ("rules", Make::Repeat(b"sshd: 10.1.2.3 192.168.0.0/16\n")),
    (
        "rules with names and options",
        Make::Repeat(b"sshd, in.telnetd: .example.com, [2001:db8::]/32: severity auth.info: allow\n"),
    ),
    ("comments", Make::Repeat(b"# sshd: 10.1.2.3\n")),
    ("empty lines", Make::Repeat(b"\n")),
    ("one line", Make::OneLine(b"sshd: 10.1.2.3, ")),
    ("continued rules", Make::Repeat(b"sshd: \\\n  10.1.2.3, \\\n  192.168.0.0/16\n")),
    ("continuations of nothing", Make::Repeat(b"\\\n")),
    ("NUL bytes", Make::Repeat(b"\0")),
    ("NUL lines", Make::Repeat(b"\0\n")),
    ("glued rules", Make::Repeat(b"ALL: ALL\0 and\n\n")),
    ("long lists", Make::Lines(b"sshd:", b" 10.1.2.3", b"\n")),
    ("EXCEPT chains", Make::Lines(b"ALL:", b" a EXCEPT", b"\n")),
    ("brackets", Make::Lines(b"ALL:", b" [[[]]]", b": allow\n")),
    ("open brackets", Make::Lines(b"ALL", b"[", b"\n")),
    ("separators", Make::Lines(b"ALL:", b",", b"ALL\n")),
    ("colons", Make::Lines(b"ALL:ALL", b":", b"\n")),
    ("no separator", Make::Repeat(b"no separator\n")),
    ("host bits", Make::Repeat(b"ALL: 10.1.2.3/16\n")),
    ("wrong options", Make::Repeat(b"ALL: ALL: bogus\n")),
    ("pattern file", Make::File(b"10.1.2.3\n192.168.0.0/16\n")),
    ("wrong pattern file", Make::File(b"10.1.2.3/16,10.1.2.4/16\n")),
    ("names of pattern files", Make::Names(100_000)),
];

/// The texts of a shape.
pub(crate) fn texts(shape: &str) -> Option<Texts> {
    let (_, make) = SHAPES.iter().find(|(name, _)| *name == shape)?;
    let path = |name: &str| Arc::new(PathBuf::from(name));
    let mut files = BTreeMap::new();
    let mut allow = Vec::new();
    match make {
        Make::Repeat(text) => allow = text.repeat(SIZE / text.len()),
        Make::Lines(head, middle, end) => {
            let middle = middle.repeat((2047 - head.len() - end.len()) / middle.len());
            let line = [head, middle.as_slice(), end].concat();
            allow = line.repeat(SIZE / line.len());
        }
        Make::OneLine(text) => allow = text.repeat(SIZE / text.len()),
        Make::File(text) => {
            allow.extend_from_slice(b"ALL: /file\n");
            files.insert(PathBuf::from("/file"), FileText::Bytes(text.repeat(SIZE / text.len()).into()));
        }
        Make::Names(count) => {
            for number in 0..*count {
                let name = format!("/etc/clients.{number}");
                allow.extend_from_slice(format!("ALL: {name}\n").as_bytes());
                files.insert(PathBuf::from(name), FileText::Missing);
            }
        }
    }
    Some(Texts {
        allow: (path("hosts.allow"), FileText::Bytes(allow.into())),
        deny: (path("hosts.deny"), FileText::Missing),
        files,
    })
}

/// How many bytes they have.
pub(crate) fn bytes(texts: &Texts) -> usize {
    let size = |text: &FileText| match text {
        FileText::Bytes(bytes) => bytes.len(),
        FileText::Missing | FileText::Unreadable(_) => 0,
    };
    size(&texts.allow.1) + size(&texts.deny.1) + texts.files.values().map(size).sum::<usize>()
}
