//! Tables that are made to be slow, from text to policy; `tcpw-bench hostile SHAPE`, or `tcpw-bench hostile` for the names.
//!
//! Out: one JSON object: the seconds of the processor that parsing, indexing and compiling take, and the limit that the
//! policy is beyond, if it is beyond one.

use std::{collections::BTreeMap, fmt::Write as _, hint::black_box, net::Ipv4Addr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use tcpw_tests::policy::compile_as;
use tcpw_userspace::{
    compile::{ClientTableKind, Names},
    evaluate::IndexedTables,
    parse::{
        parse,
        text::{FileText, Texts},
    },
};

use super::{peak_memory, processor_time};

/// Both tables, and pattern files.
type Made = (String, String, BTreeMap<PathBuf, FileText>);

type Make = fn() -> Made;

/// Every shape, by name; the first is what the others are compared with.
const SHAPES: [(&str, Make); 6] = [
    ("a million addresses", plain),
    ("a million rules that allow and refuse by turns", by_turns),
    ("100,000 members of an EXCEPT list", except),
    ("10,000 services with rules of their own", services),
    ("one line of 18 MB", one_line),
    ("1,000 pattern files, each named in the one before", nested),
];

pub(crate) fn names() -> String {
    SHAPES.map(|(name, _)| name).join("\n")
}

/// Measures one.
pub(crate) fn run(shape: &str) -> Result<String> {
    let (_, make) = SHAPES.iter().find(|(name, _)| *name == shape).context("no such shape")?;
    let (allow, deny, files) = make();
    let path = |name: &str| Arc::new(PathBuf::from(name));
    let texts = Texts {
        allow: (path("hosts.allow"), FileText::Bytes(allow.into_bytes().into())),
        deny: (path("hosts.deny"), FileText::Bytes(deny.into_bytes().into())),
        files,
    };
    let began = processor_time()?;
    let tables = Arc::new(black_box(parse(&texts)).tables);
    let parsed = processor_time()?;
    let index = black_box(IndexedTables::new(Arc::clone(&tables)));
    let indexed = processor_time()?;
    let policy = black_box(compile_as(ClientTableKind::Auto, Names::Unknown, &tables, &[]));
    let compiled = processor_time()?;
    drop(index);
    let seconds = serde_json::json!({
        "parse": (parsed - began).as_secs_f64(),
        "index": (indexed - parsed).as_secs_f64(),
        "compile": (compiled - indexed).as_secs_f64(),
    });
    Ok(serde_json::json!({
        "shape": shape,
        "seconds": seconds,
        "total_s": (compiled - began).as_secs_f64(),
        "peak_bytes": peak_memory()?,
        "beyond": policy.err().map(|error| error.to_string()),
    })
    .to_string())
}

/// Addresses in no order, each another.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x1000_0000 + (number.wrapping_mul(0x9e37_79b1) >> 2))
}

fn lines(count: u32, line: impl Fn(&mut String, u32)) -> String {
    let mut text = String::new();
    (0..count).for_each(|number| line(&mut text, number));
    text
}

fn plain() -> Made {
    let deny = lines(1_000_000, |text, number| _ = writeln!(text, "ALL: {}", address(number)));
    (String::new(), deny, BTreeMap::new())
}

fn by_turns() -> Made {
    let allow = lines(1_000_000, |text, number| {
        let verdict = if number % 2 == 0 { "allow" } else { "deny" };
        _ = writeln!(text, "ALL: {}: {verdict}", address(number));
    });
    (allow, "ALL: ALL\n".into(), BTreeMap::new())
}

fn except() -> Made {
    let members = lines(100_000, |text, number| _ = writeln!(text, "{}", address(number)));
    let files = BTreeMap::from([(PathBuf::from("/members"), FileText::Bytes(members.into_bytes().into()))]);
    (String::new(), "ALL: ALL EXCEPT /members\n".into(), files)
}

fn services() -> Made {
    let allow = lines(10_000, |text, number| _ = writeln!(text, "daemon{number}: {}", address(number)));
    (allow, "ALL: ALL\n".into(), BTreeMap::new())
}

fn one_line() -> Made {
    let deny = lines(1_200_000, |text, number| _ = write!(text, "{} ", address(number)));
    (String::new(), format!("ALL: {deny}\n"), BTreeMap::new())
}

fn nested() -> Made {
    let files = (0..1000).map(|number: u32| {
        let members = lines(1000, |text, member| _ = writeln!(text, "{}", address(number * 1000 + member)));
        let text = format!("{members}/members.{}\n", number + 1);
        (PathBuf::from(format!("/members.{number}")), FileText::Bytes(text.into_bytes().into()))
    });
    (String::new(), "ALL: /members.0\n".into(), files.collect())
}
