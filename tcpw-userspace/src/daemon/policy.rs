//! From texts to the policy in force.
//!
//! In: the texts of both tables. Out: a policy in the kernel, and the tables of the
//! last generations, against which events are judged once more.
//! Invariant: a reload with errors changes nothing; the first start takes what
//! libwrap would.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::{Result, ensure};
use tcpw_common::{
    decide::{AUDIT, NO_ALLOW_TABLE, NO_DENY_TABLE},
    key::NamesId,
};

use crate::{
    compile::{self, Names, Policy},
    config::{Config, Mode},
    evaluate::IndexedTables,
    kernel::{Applied, Kernel},
    names::NamesSet,
    parse::{
        self, Parsed,
        diagnostic::Severity,
        rule::{TableKind, Tables},
        text::{FileText, Texts},
    },
    resolve::KnownAccounts,
};

/// Generations whose tables are kept for events that are still in the ring.
const KEPT: usize = 8;

/// The policy in force and those before it.
pub(super) struct Policies {
    history: VecDeque<(u32, Rules)>,
    pub(super) current: Option<InForce>,
    /// Why the files as they are now are not in force.
    pub(super) problem: Option<String>,
}

/// What attempts are judged by.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) tables: Arc<Tables>,
    pub(super) indexed: IndexedTables,
    /// The users and groups that they name.
    pub(super) accounts: Arc<KnownAccounts>,
}

impl Rules {
    fn are(&self, tables: &Tables, accounts: &KnownAccounts) -> bool {
        *self.tables == *tables && *self.accounts == *accounts
    }
}

/// Texts and all that is to be known of them before they can be in force.
pub(super) struct Prepared {
    texts: Texts,
    parsed: Parsed,
    accounts: KnownAccounts,
}

impl Prepared {
    /// Parses texts, and looks up the users and groups that they name: for however long that takes.
    pub(super) fn of(texts: Texts) -> Self {
        let parsed = parse::parse(&texts);
        Self { accounts: KnownAccounts::of(&parsed.tables), parsed, texts }
    }
}

/// The policy in force.
pub(super) struct InForce {
    pub(super) rules: Rules,
    pub(super) policy: Policy,
    pub(super) generation: u32,
    /// Connections may wait for their client's user.
    pub(super) asks_for_users: bool,
    pub(super) applied_at: SystemTime,
    /// Diagnostics of error severity: hosts.allow, hosts.deny.
    errors: [usize; 2],
    missing: [bool; 2],
}

impl InForce {
    /// Errors in a table; those of pattern files count for hosts.allow.
    pub(super) fn errors_of(&self, table: TableKind) -> usize {
        match table {
            TableKind::Allow => self.errors[0],
            TableKind::Deny => self.errors[1],
        }
    }
}

/// What became of a reload.
pub(super) enum Outcome {
    /// In force.
    Applied(Applied),
    /// The policy before stays: why.
    Kept(String),
    /// The texts say what is in force already.
    Unchanged,
}

impl Policies {
    pub(super) fn new() -> Self {
        Self { history: VecDeque::new(), current: None, problem: None }
    }

    /// Reports every diagnostic of the texts, and puts the policy in force if it is fit.
    ///
    /// # Errors
    /// There is no policy yet and this one cannot be put in force.
    pub(super) fn reload(
        &mut self,
        kernel: &mut Kernel,
        config: &Config,
        names: &[NamesSet],
        prepared: Prepared,
    ) -> Result<Outcome> {
        let Prepared { texts, parsed, accounts } = prepared;
        let missing = [is_missing(&texts.allow), is_missing(&texts.deny)];
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.rules.are(&parsed.tables, &accounts) && current.missing == missing)
        {
            if self.problem.take().is_some() {
                log::info!("the files say again what is in force");
            }
            return Ok(Outcome::Unchanged);
        }
        let mut errors = [0; 2];
        let mut hints = 0;
        for diagnostic in &parsed.diagnostics {
            match diagnostic.severity {
                Severity::Error => {
                    errors[usize::from(*diagnostic.origin.path == *texts.deny.0)] += 1 + diagnostic.more;
                    log::error!("{diagnostic}");
                }
                Severity::Warning => log::warn!("{diagnostic}"),
                Severity::Hint => hints += 1 + diagnostic.more,
            }
        }
        if hints > 0 {
            log::info!("hints on the tables: {hints}; \"tcpw check\" shows them");
        }
        let count: usize = errors.iter().sum();
        if let Some(before) = self.missing_before(kernel)? {
            let vanished: Vec<String> = [&parsed.tables.allow, &parsed.tables.deny]
                .into_iter()
                .zip(missing.iter().zip(before))
                .filter(|(_, (now, before))| **now && !before)
                .map(|(table, _)| format!("{} is gone or a directory", table.path.display()))
                .collect();
            let reason = match count {
                _ if !vanished.is_empty() => vanished.join(", "),
                0 => String::new(),
                _ => format!("{count} error(s) in the tables, see above"),
            };
            if !reason.is_empty() {
                ensure!(
                    self.current.is_some(),
                    "the pinned policy stays in force, and nobody follows it: {reason}"
                );
                return Ok(self.keep(reason));
            }
        }
        let tables = Arc::new(parsed.tables);
        let indexed = IndexedTables::new(Arc::clone(&tables));
        let rules = Rules { tables, indexed, accounts: Arc::new(accounts) };
        let result = self.put_in_force(kernel, config, names, rules, errors, missing);
        match result {
            Ok(applied) => Ok(Outcome::Applied(applied)),
            Err(error) if self.current.is_some() => Ok(self.keep(format!("{error:#}"))),
            Err(error) => Err(error),
        }
    }

    /// Compiles the tables in force anew, for a names-set they did not know.
    ///
    /// # Errors
    /// It does not fit; the policy before stays.
    pub(super) fn recompile(
        &mut self,
        kernel: &mut Kernel,
        config: &Config,
        names: &[NamesSet],
    ) -> Result<Option<Applied>> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        let (rules, errors, missing) = (current.rules.clone(), current.errors, current.missing);
        self.put_in_force(kernel, config, names, rules, errors, missing).map(Some)
    }

    fn put_in_force(
        &mut self,
        kernel: &mut Kernel,
        config: &Config,
        names: &[NamesSet],
        rules: Rules,
        errors: [usize; 2],
        missing: [bool; 2],
    ) -> Result<Applied> {
        let audit = config.mode == Mode::Audit;
        let flags = [(audit, AUDIT), (missing[0], NO_ALLOW_TABLE), (missing[1], NO_DENY_TABLE)];
        let flags = flags.iter().filter(|(is_so, _)| *is_so).fold(0, |all, (_, flag)| all | flag);
        let looked_up = if compile::ask_for_users(&rules.tables) {
            can_ask(kernel, config)
        } else {
            Names::HostsLookedUp
        };
        let policy = compile::compile(&compile::Input {
            tables: &rules.tables,
            listeners: names,
            exempt_networks: &config.exempt.addresses,
            exempt_ports: &config.exempt.ports,
            lookup: &*rules.accounts,
            names: looked_up,
            unnamed_ports: &config.resolve.name_server_ports,
        })?;
        if policy.acts_on_accepted
            && !audit
            && let Err(error) = kernel.watch_accepted(&config.cgroup)
        {
            log::error!("no command is run for an allowed client, and keepalive is not set: {error:#}");
        }
        if policy.speaks
            && !audit
            && let Err(error) = kernel.begin_banners()
        {
            log::error!("allowed clients get no banner: {error:#}");
        }
        let applied = kernel.apply(&policy, flags)?;
        self.history.push_back((applied.generation, rules.clone()));
        if self.history.len() > KEPT {
            self.history.pop_front();
        }
        self.problem = None;
        self.current = Some(InForce {
            asks_for_users: looked_up == Names::LookedUp,
            rules,
            policy,
            generation: applied.generation,
            applied_at: SystemTime::now(),
            errors,
            missing,
        });
        Ok(applied)
    }

    /// Which tables were missing when the policy in force was made, by this process or by one before it, of whatever version;
    /// `None` if there is no policy yet.
    fn missing_before(&self, kernel: &Kernel) -> Result<Option<[bool; 2]>> {
        if let Some(current) = &self.current {
            return Ok(Some(current.missing));
        }
        let flags = kernel.flags_in_force()?;
        Ok(flags.map(|flags| [NO_ALLOW_TABLE, NO_DENY_TABLE].map(|flag| flags & flag != 0)))
    }

    fn keep(&mut self, reason: String) -> Outcome {
        self.problem = Some(reason.clone());
        Outcome::Kept(reason)
    }

    /// The rules of a generation; `None` if it is too old or another process's.
    pub(super) fn rules_of(&self, generation: u32) -> Option<&Rules> {
        self.history.iter().rev().find(|(kept, _)| *kept == generation).map(|(_, rules)| rules)
    }

    /// The names-set behind an id that the policy in force computed in advance.
    pub(super) fn names_of(&self, id: NamesId) -> Option<NamesSet> {
        let sets = &self.current.as_ref()?.policy.names_sets;
        sets.iter().map(|(set, _)| set).find(|set| set.id() == id).cloned()
    }

    /// The rules in force.
    pub(super) fn current_rules(&self) -> Option<&Rules> {
        self.current.as_ref().map(|current| &current.rules)
    }
}

/// Makes ready for a policy with users, before it is in force; else users are unknown.
fn can_ask(kernel: &mut Kernel, config: &Config) -> Names {
    match kernel.begin_users(&config.cgroup) {
        Ok(()) => Names::LookedUp,
        Err(error) => {
            log::warn!("this kernel cannot make connections wait: every user is unknown: {error:#}");
            Names::HostsLookedUp
        }
    }
}

/// Whether there is no such table. A directory in its place reads as empty, as in libwrap, but on a
/// reload it must not open the host any more than a table that vanished.
fn is_missing((path, text): &(Arc<PathBuf>, FileText)) -> bool {
    *text == FileText::Missing || path.is_dir()
}

/// The pattern files the texts name so far.
pub(super) fn named_files(texts: &Texts) -> std::collections::BTreeSet<PathBuf> {
    parse::pattern_files(&parse::parse(texts).tables)
}
