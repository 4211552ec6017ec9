//! Compiles rules and fills the idle slot with them: when it is told to, or ahead of that.
//!
//! In: rules to put in force; rules of files that must stay the same for a while before they may be. Out: filled slots.
//! Invariant: what was made ahead is used only if the rules are the very same and all else that it was made of is equal.
//! A slot that waits to be switched to is not filled ahead. What fails ahead fails again, and is reported, when it is asked
//! for.

use std::{
    mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use super::{super::kept, guard::guarded, worker::Job};
use crate::{
    compile::{self, Names, Policy},
    config::Config,
    core::{action::Fill, input::Filled},
    evaluate::{IndexedTables, request::AccessRequest},
    kernel::{FilledSlot, FilledTables, Loader, StagedSlot},
    names::NamesSet,
    parse::rule::Tables,
    resolve::KnownAccounts,
};

/// Fills slots.
pub(super) struct Filler {
    loader: Loader,
    config: Config,
    newest: Arc<AtomicU64>,
    /// Names, look-ups, flags and accounts of the last request.
    given: Option<Given>,
    /// The rules of the last request.
    last: Weak<IndexedTables>,
    /// Number of the request whose slot is filled, and may be switched to at any time.
    waits_for_flip: Option<u64>,
    /// To be made once it is switched to, or not wanted.
    put_off: Option<Ahead>,
    made: Option<MadeAhead>,
    underway: Underway,
}

/// What tables are made of, but for the rules and the configuration, which does not change.
#[derive(Clone, PartialEq)]
struct Given {
    names: Vec<NamesSet>,
    looked_up: Names,
    flags: u32,
    accounts: KnownAccounts,
}

impl Given {
    fn of(fill: &Fill) -> Self {
        Self {
            names: fill.names.clone(),
            looked_up: fill.looked_up,
            flags: fill.flags,
            accounts: (*fill.rules.accounts).clone(),
        }
    }
}

/// Rules, and what else their tables are made of.
type Begun = (Arc<IndexedTables>, Given);

/// What is being made ahead. A clone shares it.
#[derive(Clone, Default)]
pub(super) struct Underway(Arc<Mutex<Option<Begun>>>);

impl Underway {
    /// Whether it is what a request asks for.
    pub(super) fn is(&self, fill: &Fill) -> bool {
        let underway = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        underway.as_ref().is_some_and(|(rules, given)| {
            Arc::ptr_eq(rules, &fill.rules.indexed) && *given == Given::of(fill)
        })
    }

    fn set(&self, underway: Option<Begun>) {
        let before = mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), underway);
        // Rules are freed without the lock.
        drop(before);
    }
}

/// Rules that will be put in force unless their files change meanwhile.
pub(super) struct Ahead {
    number: u64,
    rules: Arc<IndexedTables>,
}

/// Tables that were made ahead.
struct MadeAhead {
    rules: Arc<IndexedTables>,
    given: Given,
    policy: Policy,
    slot: StagedSlot,
}

impl Filler {
    pub(super) fn new(loader: Loader, config: Config, newest: Arc<AtomicU64>, underway: Underway) -> Self {
        Self {
            loader,
            config,
            newest,
            given: None,
            last: Weak::new(),
            waits_for_flip: None,
            put_off: None,
            made: None,
            underway,
        }
    }

    /// Compiles, and fills the idle slot.
    pub(super) fn fill(&mut self, fill: &Fill) -> Result<(Box<Filled>, FilledSlot), String> {
        let given = Given::of(fill);
        let rules = &fill.rules.indexed;
        let ahead = self.made.take().filter(|made| Arc::ptr_eq(&made.rules, rules) && made.given == given);
        let (policy, slot) = match ahead {
            Some(made) => {
                log::debug!("the tables were made ahead");
                (made.policy, made.slot)
            }
            None => self.stage(rules, &given, || true)?.ok_or("it was not made")?,
        };
        let slot = self.loader.finish(&policy, given.flags, slot).map_err(|error| format!("{error:#}"))?;
        if let Some(hash) = fill.unconfirmed {
            // Before they are in force: whatever ends then, they do not come into force by themselves.
            kept::store_rolled_back(&self.config.state_dir, Some(hash))
                .map_err(|error| format!("that it is not confirmed yet cannot be kept: {error:#}"))?;
        }
        (self.given, self.last) = (Some(given), Arc::downgrade(rules));
        self.waits_for_flip = Some(fill.number);
        Ok((Box::new(Filled { policy, generation: slot.generation, compared: slot.compared }), slot))
    }

    /// Does that ahead, if no slot waits to be switched to; else once it was.
    pub(super) fn fill_ahead(&mut self, ahead: Ahead) {
        // The room of what was made before is needed.
        self.made = None;
        if self.waits_for_flip.is_some() {
            self.put_off = Some(ahead);
            return;
        }
        let Ahead { number, rules } = ahead;
        let is_newest = || self.newest.load(Ordering::Relaxed) == number;
        let is_known =
            self.last.upgrade().is_some_and(|last| is_of_same_texts(last.tables(), rules.tables()));
        let Some(given) = self.given.clone().filter(|_| is_newest() && !is_known) else { return };
        let asks_for_users = compile::ask_for_users(rules.tables());
        let looked_up = if asks_for_users { given.looked_up } else { Names::HostsLookedUp };
        // An account is looked up later; most tables name none.
        let given = Given { looked_up, accounts: KnownAccounts::default(), ..given };
        let newest = Arc::clone(&self.newest);
        self.underway.set(Some((Arc::clone(&rules), given.clone())));
        let staged = self.stage(&rules, &given, || newest.load(Ordering::Relaxed) == number);
        self.underway.set(None);
        match staged {
            Ok(Some((policy, slot))) => self.made = Some(MadeAhead { rules, given, policy, slot }),
            Ok(None) => log::debug!("what was begun ahead is not wanted"),
            Err(error) => log::debug!("ahead: {error}"),
        }
    }

    /// Waits until no program still uses the policy before.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let settled = self.loader.settle().map_err(|error| format!("{error:#}"));
        self.waits_for_flip = None;
        settled
    }

    /// The slot of that request is not switched to.
    pub(super) fn not_flipped(&mut self, number: u64) {
        if self.waits_for_flip == Some(number) {
            self.waits_for_flip = None;
        }
    }

    /// What was put off until now, unless a slot still waits.
    pub(super) fn put_off(&mut self) -> Option<Ahead> {
        if self.waits_for_flip.is_some() { None } else { self.put_off.take() }
    }

    /// What was made ahead is not wanted.
    pub(super) fn forget_ahead(&mut self) {
        (self.made, self.put_off) = (None, None);
    }

    /// Compiles, puts the tables into the idle slot, compares them with the rules; nothing if they are not wanted any more.
    fn stage(
        &mut self,
        rules: &Arc<IndexedTables>,
        given: &Given,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Option<(Policy, StagedSlot)>, String> {
        let source = compile::PolicySource {
            tables: rules.tables(),
            listeners: &given.names,
            exempt_networks: &self.config.exempt.addresses,
            exempt_ports: &self.config.exempt.ports,
            lookup: &given.accounts,
            names: given.looked_up,
            unnamed_ports: &self.config.resolve.name_server_ports,
            client_tables: self.config.table,
        };
        let begin = Instant::now();
        make_index(rules);
        let mut policy = compile::compile(&source).map_err(|error| error.to_string())?;
        let compiled = begin.elapsed();
        if !is_wanted() {
            return Ok(None);
        }
        let evaluate = |request: &AccessRequest<'_>| rules.evaluate(request, source.lookup);
        let read_ahead = |clients: &[IpAddr]| rules.read_ahead(clients);
        let check = |tables: &FilledTables<'_>| {
            anyhow::ensure!(is_wanted(), "it is not wanted any more");
            let loaded = begin.elapsed();
            rules.make_index();
            let indexed = begin.elapsed();
            let count = compile::compare(|| tables.read_back(), &policy, &source, read_ahead, evaluate)?;
            log::debug!(
                "compiled in {compiled:?}, loaded in {:?}, waited {:?} for the index, compared in {:?}",
                loaded - compiled,
                indexed - loaded,
                begin.elapsed() - indexed
            );
            Ok(count)
        };
        let slot = self.loader.stage(&policy, given.flags, check).map_err(|error| format!("{error:#}"))?;
        log::debug!("in the idle slot {:?} after the beginning", begin.elapsed());
        policy.forget_loaded();
        Ok(Some((policy, slot)))
    }
}

/// Makes the index meanwhile, on a thread; without one it is made when it is needed.
fn make_index(rules: &Arc<IndexedTables>) {
    let rules = Arc::clone(rules);
    let made = thread::Builder::new().name("index".into());
    let made = made.spawn(move || guarded("an index", || rules.make_index()));
    drop(made.inspect_err(|error| log::debug!("no thread for an index: {error}")));
}

/// Whether both were read from the same texts.
fn is_of_same_texts(one: &Tables, other: &Tables) -> bool {
    one.allow.rules.are_of_same_text(&other.allow.rules)
        && one.deny.rules.are_of_same_text(&other.deny.rules)
        && one.files == other.files
}

/// Rules to be made ahead: of several the last.
#[derive(Clone, Default)]
pub(super) struct NextAhead(Arc<Mutex<Option<Ahead>>>);

impl NextAhead {
    /// Returns what waited before.
    fn replace(&self, next: Option<Ahead>) -> Option<Ahead> {
        mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), next)
    }

    pub(super) fn take(&self) -> Option<Ahead> {
        self.replace(None)
    }
}

/// Asks for rules to be compiled ahead.
#[derive(Clone)]
pub(super) struct AheadSender {
    jobs: mpsc::Sender<Job>,
    next: NextAhead,
    newest: Arc<AtomicU64>,
    last: Arc<Mutex<Weak<IndexedTables>>>,
}

impl AheadSender {
    pub(super) fn new(jobs: mpsc::Sender<Job>, next: NextAhead, newest: Arc<AtomicU64>) -> Self {
        Self { jobs, next, newest, last: Arc::default() }
    }

    /// These rules will be put in force unless their files change meanwhile.
    pub(super) fn begin(&self, rules: &Arc<IndexedTables>) {
        if self.is_same(Arc::downgrade(rules)) {
            return;
        }
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        if self.next.replace(Some(Ahead { number, rules: Arc::clone(rules) })).is_none() {
            // The thread lives as long as the daemon.
            let _ = self.jobs.send(Job::Ahead);
        }
    }

    /// The files will not be put in force as they are now.
    pub(super) fn end(&self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
        self.next.replace(None);
        self.is_same(Weak::new());
        let _ = self.jobs.send(Job::ForgetAhead);
    }

    fn is_same(&self, rules: Weak<IndexedTables>) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *last, rules);
        Weak::ptr_eq(&before, &last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::policies::Rules,
        parse::{
            parse,
            text::{FileText, Texts},
        },
    };

    fn indexed(deny: &str) -> Arc<IndexedTables> {
        let texts = Texts {
            allow: (Arc::new("hosts.allow".into()), FileText::Missing),
            deny: (Arc::new("hosts.deny".into()), FileText::Bytes(deny.as_bytes().into())),
            files: std::collections::BTreeMap::new(),
        };
        Arc::new(IndexedTables::without_index(Arc::new(parse(&texts).tables)))
    }

    #[test]
    fn of_several_rules_the_last_are_made_ahead() {
        let (jobs, queue) = mpsc::channel();
        let (next, newest) = (NextAhead::default(), Arc::new(AtomicU64::new(0)));
        let sender = AheadSender::new(jobs, next.clone(), Arc::clone(&newest));
        let (one, two) = (indexed("ALL: 10.\n"), indexed("ALL: 11.\n"));
        [&one, &one, &two, &two].into_iter().for_each(|rules| sender.begin(rules));
        assert_eq!(queue.try_iter().filter(|job| matches!(job, Job::Ahead)).count(), 1);
        let ahead = next.take().unwrap();
        assert!(Arc::ptr_eq(&ahead.rules, &two) && ahead.number == newest.load(Ordering::Relaxed));

        sender.end();
        assert_ne!(ahead.number, newest.load(Ordering::Relaxed), "it is still wanted");
        assert!(matches!(queue.try_recv(), Ok(Job::ForgetAhead)));
        sender.begin(&two);
        assert!(matches!(queue.try_recv(), Ok(Job::Ahead)) && next.take().is_some(), "wanted again");
    }

    #[test]
    fn request_is_underway_only_with_all_that_it_is_made_of() {
        let rules = indexed("ALL: 10.\n");
        let fill = |indexed: &Arc<IndexedTables>, names: &[&str], flags| Fill {
            number: 1,
            rules: Rules {
                commands: [].into(),
                asks_for_users: false,
                indexed: Arc::clone(indexed),
                accounts: Arc::default(),
            },
            names: names.iter().map(|name| NamesSet::new([name])).collect(),
            looked_up: Names::HostsLookedUp,
            flags,
            unconfirmed: None,
        };
        let underway = Underway::default();
        assert!(!underway.is(&fill(&rules, &[], 0)));
        underway.set(Some((Arc::clone(&rules), Given::of(&fill(&rules, &["sshd"], 0)))));
        assert!(underway.is(&fill(&rules, &["sshd"], 0)));
        assert!(!underway.is(&fill(&indexed("ALL: 10.\n"), &["sshd"], 0)), "other rules");
        assert!(!underway.is(&fill(&rules, &[], 0)), "other names");
        assert!(!underway.is(&fill(&rules, &["sshd"], 1)), "other flags");
        underway.set(None);
        assert!(!underway.is(&fill(&rules, &["sshd"], 0)));
    }
}
