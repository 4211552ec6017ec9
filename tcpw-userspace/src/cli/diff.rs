//! `tcpw diff`: what changes between two pairs of tables, in meaning.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    Failure, Outcome, TableArgs,
    meaning::{
        Asked, JsonDecision, JsonService, Read, Services, answer, condition, end, json_networks, paths, read,
        rule, verdict_of, who,
    },
    must_exist,
};
use crate::{
    compile::{Answer, Change, ChangeKind, Decider, Decision, diff},
    parse::rule::{TableKind, Tables},
    resolve::Accounts,
};

/// Flags of `tcpw diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// A directory with hosts.allow and hosts.deny, or one table
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// Likewise
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Which table OLD and NEW are, if a name says neither allow nor deny
    #[arg(long = "as", value_name = "TABLE")]
    pub kind: Option<Kind>,
    /// The tables in use: the other one of a pair of which one is named.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Print every network, not the first ones only
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Which of the tables a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// hosts.allow
    Allow,
    /// hosts.deny
    Deny,
}

/// Prints which clients of which services are treated differently. Exit code 0 if none, 1 if some.
///
/// # Errors
///
/// Wrong use, or there is too much to say: exit code 2.
pub fn run(arguments: &DiffArgs) -> Result<Outcome, Failure> {
    let old = read(&pair(&arguments.old, arguments)?);
    let new = read(&pair(&arguments.new, arguments)?);
    let changes = diff(&old.tables, &new.tables, &Accounts).map_err(Failure::usage)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if arguments.json {
        serde_json::to_writer(&mut out, &json(&old, &new, &changes)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        show(&mut out, &old, &new, &changes, arguments.all)?;
    }
    out.flush()?;
    Ok(if changes.is_empty() { Outcome::Fine } else { Outcome::Finding })
}

/// hosts.allow and hosts.deny of one side.
fn pair(named: &Path, arguments: &DiffArgs) -> Result<[PathBuf; 2], Failure> {
    must_exist("table", Some(named))?;
    if named.is_dir() {
        return Ok(["hosts.allow", "hosts.deny"].map(|name| named.join(name)));
    }
    let name = named.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let kind = match (arguments.kind, name.contains("allow"), name.contains("deny")) {
        (Some(Kind::Allow), ..) | (None, true, false) => TableKind::Allow,
        (Some(Kind::Deny), ..) | (None, false, true) => TableKind::Deny,
        (None, true, true) | (None, false, false) => {
            return Err(Failure::usage(format!(
                "{}: hosts.allow or hosts.deny? write --as allow or --as deny, or name a directory with both",
                named.display()
            )));
        }
    };
    let [allow, deny] = paths(&arguments.tables)?;
    Ok(match kind {
        TableKind::Allow => [named.to_owned(), deny],
        TableKind::Deny => [allow, named.to_owned()],
    })
}

fn show(out: &mut impl Write, old: &Read, new: &Read, all: &[Change], whole: bool) -> io::Result<()> {
    let services = Services::new(all.iter().flat_map(|it| &it.services), Asked::default());
    let sections = [
        (ChangeKind::Verdict, ""),
        (ChangeKind::Depends, "For some names, users or results of commands:"),
        (ChangeKind::Effects, "Same verdict, other options:"),
    ];
    let mut is_first = true;
    for (kind, title) in sections {
        let of_kind: Vec<_> = all.iter().filter(|change| change.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            writeln!(out)?;
        }
        if !title.is_empty() {
            writeln!(out, "{title}")?;
        }
        for change in of_kind {
            let label = services.label(&change.services, whole);
            writeln!(out, "{label}: {}", headline(change, whole))?;
            side(out, "old", &old.tables, &change.old)?;
            side(out, "new", &new.tables, &change.new)?;
        }
    }
    for (which, Read { errors, .. }) in [("old", old), ("new", new)] {
        if *errors > 0 {
            writeln!(out, "The {which} tables have {errors} errors, judged as libwrap does: see tcpw check")?;
        }
    }
    Ok(())
}

/// `203.0.113.0/24 (256 addresses): allowed -> refused`
fn headline(change: &Change, whole: bool) -> String {
    let Change { kind, services: _, networks, old, new } = change;
    let text = who(networks, whole);
    let said = |decision: &Decision| match decision.answer {
        Answer::Depends => format!("depends on {}", condition(decision.hangs_on)),
        Answer::Allow | Answer::Refuse => answer(decision.answer).to_owned(),
    };
    match kind {
        ChangeKind::Effects => format!("{text}: {}", said(new)),
        ChangeKind::Verdict | ChangeKind::Depends => format!("{text}: {} -> {}", said(old), said(new)),
    }
}

fn side(out: &mut impl Write, which: &str, tables: &Tables, decision: &Decision) -> io::Result<()> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let with_verdict =
        |(place, text): (String, String), verdict: &str| (place, format!("{text}  ({verdict})"));
    for &before in &decision.before {
        lines.push(with_verdict(rule(tables, before), verdict_of(tables, before, &Accounts)));
    }
    lines.push(match decision.by {
        Decider::Rule(by) if decision.answer == Answer::Depends => {
            with_verdict(rule(tables, by), verdict_of(tables, by, &Accounts))
        }
        Decider::Rule(by) => rule(tables, by),
        by @ (Decider::NoRule | Decider::TableBroken) => (end(tables, by).unwrap_or_default(), String::new()),
    });
    let width = lines.iter().map(|(place, _)| place.len()).max().unwrap_or(0);
    for (index, (place, text)) in lines.iter().enumerate() {
        let which = if index == 0 { which } else { "   " };
        writeln!(out, "{}", format!("    {which} {place:width$}  {text}").trim_end())?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Json {
    old_errors: usize,
    new_errors: usize,
    changes: Vec<JsonChange>,
}

#[derive(Serialize)]
struct JsonChange {
    /// `verdict`, `depends` or `options`.
    kind: &'static str,
    services: Vec<JsonService>,
    networks: Vec<String>,
    old: JsonDecision,
    new: JsonDecision,
}

fn json(old: &Read, new: &Read, all: &[Change]) -> Json {
    let change = |change: &Change| JsonChange {
        kind: match change.kind {
            ChangeKind::Verdict => "verdict",
            ChangeKind::Depends => "depends",
            ChangeKind::Effects => "options",
        },
        services: change.services.iter().map(JsonService::new).collect(),
        networks: json_networks(&change.networks),
        old: JsonDecision::new(&old.tables, &change.old),
        new: JsonDecision::new(&new.tables, &change.new),
    };
    Json { old_errors: old.errors, new_errors: new.errors, changes: all.iter().map(change).collect() }
}
