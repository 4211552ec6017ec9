//! `tcpw diff`: what changes between two pairs of tables, in meaning.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Serialize, Serializer};

use super::{
    Failure, Outcome,
    check::TableName,
    in_use::{EMPTY, tables_in_use},
    meaning::{
        AllServices, FilteredBy, JsonDecision, JsonService, ReadTables, answer, clients, condition, end,
        erroneous, json_networks, read, rule, rule_run, verdict_of,
    },
    must_exist,
};
use crate::{
    compile::{AddressVerdict, Change, ChangeKind, Decider, Detail, RuleDecision, diff},
    config::TableArgs,
    parse::rule::{TableKind, Tables},
    resolve::Accounts,
};

/// Flags of `tcpw diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// A directory with hosts.allow and hosts.deny, or one of the tables
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The same; a table given with a directory replaces the one in the directory
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Which table OLD and NEW are, if their names contain neither allow nor deny
    #[arg(long = "as", value_name = "TABLE")]
    pub kind: Option<TableName>,
    /// hosts.allow of both sides, if OLD and NEW are each a hosts.deny [default: empty]
    #[arg(long, value_name = "FILE")]
    pub hosts_allow: Option<PathBuf>,
    /// hosts.deny of both sides, if OLD and NEW are each a hosts.allow [default: empty]
    #[arg(long, value_name = "FILE")]
    pub hosts_deny: Option<PathBuf>,
    /// Print every network and each rule by itself, not many in a row as one
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints which clients of which services are treated differently. Exit code 0 if none, 1 if some.
///
/// # Errors
///
/// Wrong use, or there is too much to say: exit code 2.
pub fn run(arguments: &DiffArgs) -> Result<Outcome, Failure> {
    let Sides { old, new, shared } = Sides::of(arguments)?;
    let (old, new) = (read(&old), read(&new));
    let detail = if arguments.all || arguments.json { Detail::Rules } else { Detail::Runs };
    let changes = diff(&old.tables, &new.tables, &Accounts, detail).map_err(Failure::usage)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if arguments.json {
        serde_json::to_writer(&mut out, &json(&old, &new, &changes)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        if let Some(shared) = shared {
            match shared.as_os_str() == EMPTY {
                true => writeln!(out, "With no other table on either side:")?,
                false => writeln!(out, "With {} on both sides:", shared.display())?,
            }
        }
        show(&mut out, &old, &new, &changes, arguments.all)?;
    }
    out.flush()?;
    Ok(if changes.is_empty() { Outcome::Fine } else { Outcome::Finding })
}

/// What the command line names.
enum NamedTable {
    /// A directory with both tables, or with one.
    Both([PathBuf; 2]),
    /// A table.
    One(TableKind, PathBuf),
}

/// The tables of both sides.
struct Sides {
    old: [PathBuf; 2],
    new: [PathBuf; 2],
    /// The table that both have, if one is not told.
    shared: Option<PathBuf>,
}

impl Sides {
    fn of(arguments: &DiffArgs) -> Result<Self, Failure> {
        use NamedTable::{Both, One};
        let DiffArgs { hosts_allow, hosts_deny, .. } = arguments;
        let table = match (named(&arguments.old, arguments)?, named(&arguments.new, arguments)?) {
            (Both(_), Both(_)) if hosts_allow.is_some() || hosts_deny.is_some() => {
                return Err(Failure::usage(
                    "--hosts-allow and --hosts-deny add to a table that is named alone, and OLD and NEW have \
                     both: leave them out",
                ));
            }
            (Both(old), Both(new)) => return Ok(Self { old, new, shared: None }),
            (One(kind, old), One(also, new)) if kind == also => (kind, old, new, None),
            (One(_, old), One(..)) => {
                return Err(Failure::usage(format!(
                    "{} is one table and {} the other one: name the same one of both sides, or two directories",
                    old.display(),
                    arguments.new.display()
                )));
            }
            (Both(pair), One(kind, new)) => {
                (kind, one_of(&pair, kind), new, Some(one_of(&pair, other(kind))))
            }
            (One(kind, old), Both(pair)) => {
                (kind, old, one_of(&pair, kind), Some(one_of(&pair, other(kind))))
            }
        };
        let (kind, old, new, beside) = table;
        let (unused, flag) = match kind {
            TableKind::Allow => (("--hosts-allow", hosts_allow), hosts_deny),
            TableKind::Deny => (("--hosts-deny", hosts_deny), hosts_allow),
        };
        if let (name, Some(_)) = unused {
            return Err(Failure::usage(format!("{name}: that is what OLD and NEW are: leave it out")));
        }
        let shared = match (flag, beside) {
            (None, Some(beside)) => beside,
            (None, None) => EMPTY.into(),
            (Some(_), _) => {
                let flags = TableArgs { hosts_allow: hosts_allow.clone(), hosts_deny: hosts_deny.clone() };
                one_of(&tables_in_use(&flags, None)?, other(kind))
            }
        };
        let pair = |table: PathBuf| match kind {
            TableKind::Allow => [table, shared.clone()],
            TableKind::Deny => [shared.clone(), table],
        };
        Ok(Self { old: pair(old), new: pair(new), shared: Some(shared) })
    }
}

fn other(kind: TableKind) -> TableKind {
    match kind {
        TableKind::Allow => TableKind::Deny,
        TableKind::Deny => TableKind::Allow,
    }
}

fn one_of([allow, deny]: &[PathBuf; 2], kind: TableKind) -> PathBuf {
    match kind {
        TableKind::Allow => allow.clone(),
        TableKind::Deny => deny.clone(),
    }
}

/// What a path of the command line is.
fn named(path: &Path, arguments: &DiffArgs) -> Result<NamedTable, Failure> {
    must_exist("table", Some(path))?;
    if path.is_dir() {
        let tables = ["hosts.allow", "hosts.deny"].map(|name| path.join(name));
        if tables.iter().all(|table| std::fs::symlink_metadata(table).is_err()) {
            return Err(Failure::usage(format!(
                "{}: neither hosts.allow nor hosts.deny is in it: name the tables",
                path.display()
            )));
        }
        return Ok(NamedTable::Both(tables));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let kind = match (arguments.kind, name.contains("allow"), name.contains("deny")) {
        (Some(TableName::Allow), ..) | (None, true, false) => TableKind::Allow,
        (Some(TableName::Deny), ..) | (None, false, true) => TableKind::Deny,
        (None, true, true) | (None, false, false) => {
            return Err(Failure::usage(format!(
                "{}: hosts.allow or hosts.deny? write --as allow or --as deny, or name a directory with both",
                path.display()
            )));
        }
    };
    Ok(NamedTable::One(kind, path.to_owned()))
}

fn show(
    out: &mut impl Write,
    old: &ReadTables,
    new: &ReadTables,
    all: &[Change],
    whole: bool,
) -> io::Result<()> {
    let services = AllServices::new(all.iter().flat_map(|it| &it.services), FilteredBy::default());
    let sections = [
        (ChangeKind::Verdict, ""),
        (ChangeKind::Depends, "For some names, users or results of commands:"),
        (ChangeKind::Effects, "Same verdict, other options:"),
    ];
    if all.is_empty() {
        writeln!(out, "No client of any service is treated differently")?;
    }
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
    for (which, ReadTables { errors, .. }) in [("old", old), ("new", new)] {
        if *errors > 0 {
            writeln!(out, "{}", erroneous(&format!("{which} tables"), *errors))?;
        }
    }
    Ok(())
}

/// `203.0.113.0/24 (256 addresses): allowed -> refused`
fn headline(change: &Change, whole: bool) -> String {
    let Change { kind, services: _, networks, old, new } = change;
    let text = clients(networks, whole);
    let said = |decision: &RuleDecision| match decision.answer {
        AddressVerdict::Depends => format!("depends on {}", condition(decision.hangs_on)),
        AddressVerdict::Allow | AddressVerdict::Refuse => answer(decision.answer).to_owned(),
    };
    match kind {
        ChangeKind::Effects => format!("{text}: {}", said(new)),
        ChangeKind::Verdict | ChangeKind::Depends => format!("{text}: {} -> {}", said(old), said(new)),
    }
}

fn side(out: &mut impl Write, which: &str, tables: &Tables, decision: &RuleDecision) -> io::Result<()> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let with_verdict =
        |(place, text): (String, String), verdict: &str| (place, format!("{text}  ({verdict})"));
    for &before in &decision.before {
        lines.push(with_verdict(rule(tables, before), verdict_of(tables, before, &Accounts)));
    }
    lines.push(match decision.by {
        Decider::Rule(by) if decision.answer == AddressVerdict::Depends => {
            with_verdict(rule(tables, by), verdict_of(tables, by, &Accounts))
        }
        Decider::Rule(by) => rule(tables, by),
        Decider::Rules(rules) => rule_run(tables, rules),
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
struct Json<'a> {
    old_errors: usize,
    new_errors: usize,
    changes: JsonChanges<'a>,
}

/// Each change is made when it is written: there may be a million.
struct JsonChanges<'a> {
    old: &'a Tables,
    new: &'a Tables,
    all: &'a [Change],
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

impl Serialize for JsonChanges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let change = |change: &Change| JsonChange {
            kind: match change.kind {
                ChangeKind::Verdict => "verdict",
                ChangeKind::Depends => "depends",
                ChangeKind::Effects => "options",
            },
            services: change.services.iter().map(JsonService::new).collect(),
            networks: json_networks(&change.networks),
            old: JsonDecision::new(self.old, &change.old),
            new: JsonDecision::new(self.new, &change.new),
        };
        serializer.collect_seq(self.all.iter().map(change))
    }
}

fn json<'a>(old: &'a ReadTables, new: &'a ReadTables, all: &'a [Change]) -> Json<'a> {
    let changes = JsonChanges { old: &old.tables, new: &new.tables, all };
    Json { old_errors: old.errors, new_errors: new.errors, changes }
}
