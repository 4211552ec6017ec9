//! `tcpw list`: which clients may reach which service.

use std::{
    io::{BufWriter, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Serialize, Serializer};

use super::{
    Failure, Outcome,
    in_use::tables_in_use,
    meaning::{
        AllServices, FilteredBy, JsonDecision, JsonService, ReadTables, answer, clients, condition, end,
        erroneous, json_networks, read, rule, rule_run, verdict_of,
    },
};
use crate::{
    compile::{AddressVerdict, Area, Decider, Detail, Networks, ServiceFilter, Surveyed, survey},
    config::TableArgs,
    parse::rule::Tables,
    resolve::Accounts,
};

/// Flags of `tcpw list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// A daemon, DAEMON@ADDRESS for one address of this host, or a port [default: all that the tables distinguish]
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// Which tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Settings that name the tables in use [default: /etc/tcpw.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print every network and each rule by itself, not many in a row as one
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints for each service which clients it allows, which it refuses, and which depend on a name, user or command.
///
/// # Errors
///
/// Wrong use, or there is too much to say.
pub fn run(arguments: &ListArgs) -> Result<Outcome, Failure> {
    let only = arguments.service.as_deref().map_or_else(|| Ok(ServiceFilter::default()), wanted)?;
    let ReadTables { tables, errors } = read(&tables_in_use(&arguments.tables, arguments.config.as_deref())?);
    let detail = if arguments.all || arguments.json { Detail::Rules } else { Detail::Runs };
    let all = survey(&tables, &Accounts, &only, detail).map_err(Failure::usage)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if arguments.json {
        serde_json::to_writer(&mut out, &json(&tables, &all, errors)).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let services = all.iter().flat_map(|surveyed| &surveyed.services);
        let asked = FilteredBy { port: only.port.is_some(), server: only.server.is_some() };
        let services = AllServices::new(services, asked);
        for (index, surveyed) in all.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            writeln!(out, "{}:", services.label(&surveyed.services, arguments.all))?;
            show(&mut out, &tables, &surveyed.areas, arguments.all)?;
        }
        if errors > 0 {
            writeln!(out, "\n{}", erroneous("tables", errors))?;
        }
    }
    out.flush()?;
    Ok(Outcome::Fine)
}

/// `sshd`, `sshd@10.0.0.1`, `22`.
fn wanted(service: &str) -> Result<ServiceFilter, Failure> {
    let path = Path::new(service);
    let is_table = path.file_name().is_some_and(|name| name == "hosts.allow" || name == "hosts.deny");
    if is_table || service.contains('/') && path.exists() {
        return Err(Failure::usage(format!(
            "{service} is no service: name a table with --hosts-allow or --hosts-deny"
        )));
    }
    let (daemon, server) = match service.rsplit_once('@') {
        Some((daemon, address)) if !daemon.is_empty() => (daemon, Some(address)),
        Some(_) | None => (service, None),
    };
    let server = server
        .map(|address| {
            let plain = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
            plain.parse::<IpAddr>().map_err(|_| {
                Failure::usage(format!(
                    "{service}: \"{address}\" is no address: write DAEMON@ADDRESS, as sshd@10.0.0.1"
                ))
            })
        })
        .transpose()?;
    if daemon.is_empty() {
        return Err(Failure::usage("the service is empty: name a daemon, as sshd, or a port"));
    }
    let digits = daemon.bytes().all(|byte| byte.is_ascii_digit());
    Ok(match daemon.parse::<u16>() {
        Ok(port) if digits => ServiceFilter { daemon: None, port: Some(port), server },
        Ok(_) | Err(_) => ServiceFilter { daemon: Some(daemon.as_bytes().into()), port: None, server },
    })
}

fn show(out: &mut impl Write, tables: &Tables, areas: &[Area], all: bool) -> std::io::Result<()> {
    let rest = everyone_else(areas);
    let mut order: Vec<(usize, &Area)> = areas.iter().enumerate().collect();
    // What is spelled out comes first.
    order.sort_by_key(|(index, area)| (Some(*index) == rest, area.decision.answer));
    for (index, Area { networks, decision }) in order {
        let clients = match (networks.is_everything(), Some(index) == rest) {
            (true, _) => "everyone".to_owned(),
            (false, true) => "everyone else".to_owned(),
            (false, false) => clients(networks, all),
        };
        if decision.answer == AddressVerdict::Depends {
            writeln!(out, "  depends on {}: {clients}", condition(decision.hangs_on))?;
        } else {
            writeln!(out, "  {}: {clients}", answer(decision.answer))?;
        }
        for &before in &decision.before {
            let (place, text) = rule(tables, before);
            writeln!(out, "      {place}  {text}  ({})", verdict_of(tables, before, &Accounts))?;
        }
        let otherwise = if decision.before.is_empty() { "" } else { "otherwise " };
        match decision.by {
            Decider::Rule(by) => {
                let (place, text) = rule(tables, by);
                let verdict = if decision.answer == AddressVerdict::Depends {
                    format!("  ({})", verdict_of(tables, by, &Accounts))
                } else {
                    String::new()
                };
                writeln!(out, "      {otherwise}{place}  {text}{verdict}")?;
            }
            Decider::Rules(rules) => {
                let (place, text) = rule_run(tables, rules);
                writeln!(out, "      {otherwise}{place}  {text}")?;
            }
            by @ (Decider::NoRule | Decider::TableBroken) => {
                writeln!(out, "      {otherwise}{}", end(tables, by).unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// The area that is not spelled out: the one of most addresses, if there are others.
fn everyone_else(areas: &[Area]) -> Option<usize> {
    Networks::largest(areas.iter().map(|area| &area.networks)).filter(|_| areas.len() > 1)
}

#[derive(Serialize)]
struct JsonList<'a> {
    errors: usize,
    groups: Vec<JsonGroup<'a>>,
}

#[derive(Serialize)]
struct JsonGroup<'a> {
    services: Vec<JsonService>,
    clients: JsonAreas<'a>,
}

/// Each area is made when it is written: there may be a million.
struct JsonAreas<'a> {
    tables: &'a Tables,
    areas: &'a [Area],
}

#[derive(Serialize)]
struct Clients {
    networks: Vec<String>,
    #[serde(flatten)]
    decision: JsonDecision,
}

impl Serialize for JsonAreas<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let clients = |area: &Area| Clients {
            networks: json_networks(&area.networks),
            decision: JsonDecision::new(self.tables, &area.decision),
        };
        serializer.collect_seq(self.areas.iter().map(clients))
    }
}

fn json<'a>(tables: &'a Tables, all: &'a [Surveyed], errors: usize) -> JsonList<'a> {
    let group = |surveyed: &'a Surveyed| JsonGroup {
        services: surveyed.services.iter().map(JsonService::new).collect(),
        clients: JsonAreas { tables, areas: &surveyed.areas },
    };
    JsonList { errors, groups: all.iter().map(group).collect() }
}
