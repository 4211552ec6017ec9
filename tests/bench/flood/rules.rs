//! hosts.deny with many rules.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context as _, Result, bail};
use tcpw_tests::Sandbox;

/// How the rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A line of hosts.deny each.
    Literal,
    /// Lines of a pattern file.
    File,
}

impl Shape {
    pub(super) fn named(name: &str) -> Result<Self> {
        match name {
            "literal" => Ok(Self::Literal),
            "file" => Ok(Self::File),
            other => bail!("{other}: rules are literal or in a file"),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::File => "file",
        }
    }

    /// hosts.deny and the pattern file at `path`: so many addresses, the last one `last`.
    pub(super) fn texts(self, count: usize, last: IpAddr, path: &str) -> (String, Option<String>) {
        let head = if self == Self::Literal { "ALL: " } else { "" };
        let mut lines = String::new();
        for number in 0..count.saturating_sub(1) {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{head}{}", address(number));
        }
        let _ = writeln!(lines, "{head}{last}");
        match self {
            Self::Literal => (lines, None),
            Self::File => (format!("ALL: {path}\n"), Some(lines)),
        }
    }

    /// Writes them for a sandbox; hosts.deny last, and at once.
    pub(super) fn write(self, sandbox: &Sandbox, count: usize, last: IpAddr) -> Result<()> {
        let tables = sandbox.hosts_deny().with_file_name("");
        let (file, new) = (tables.join("many.hosts"), tables.join("hosts.deny.new"));
        let (deny, patterns) = self.texts(count, last, &file.display().to_string());
        if let Some(patterns) = patterns {
            let new = file.with_extension("new");
            fs::write(&new, patterns).context("write the pattern file")?;
            fs::rename(&new, &file).context("put the pattern file in its place")?;
        }
        fs::write(&new, deny).context("write hosts.deny")?;
        fs::rename(&new, sandbox.hosts_deny()).context("put hosts.deny in its place")
    }
}

/// The address of a rule.
pub(super) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap_or(u32::MAX >> 1))
}
