//! Puts the files as they are now in force.
//!
//! In: texts, the worker's results, names that the policy in force does not know. Out: jobs for the worker,
//! and the flip. Invariant: of two edits the later one counts, and work on the older one is dropped; a policy
//! is in force whole or not at all; only one slot is filled at a time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tcpw_common::key::NamesId;

use super::{
    listeners::Listeners,
    settle::{LastSwitch, Settling},
};
use crate::{
    compile::Names,
    core::{
        action::{Action, Fill, Flip, Freed, Until},
        input::{Filled, ReadTexts},
        outbox::{Outbox, Step},
        policies::{InForce, Prepared, Rules},
        problems::ProblemSource,
        shared::SharedState,
    },
    names::NamesSet,
    parse::diagnostic::Severity,
};

/// Most texts that are parsed at once: one whose users and groups cannot be looked up keeps its thread.
const MOST_UNDER_WAY: usize = 4;

/// Most rules that are compared here.
const MOST_COMPARED: usize = 2000;

/// After this long it is reported that the files are not in force yet.
const LONG: Duration = Duration::from_secs(3);

/// Texts and policies that are not in force yet.
#[derive(Default)]
pub(in crate::core) struct Reload {
    last: u64,
    /// Texts that are being parsed.
    parsing: BTreeMap<u64, Parsing>,
    /// The highest number of a preparation that succeeded, or that equals the policy in force.
    counts: u64,
    /// The files changed while too many texts were being parsed.
    again: bool,
    /// The last preparation that was reported as slow.
    said: u64,
    /// The files changed, and are being read.
    reading_since: Option<Instant>,
    /// Waits until the kernel can make connections wait for their user.
    readying: Option<ReloadJob>,
    filling: Option<ReloadJob>,
    /// Filled next; a later one takes its place.
    next: Option<ReloadJob>,
    /// Filled and being switched to, with its policy.
    flipping: Option<(ReloadJob, Box<Filled>)>,
    last_switch: LastSwitch,
    missing_before: Option<[bool; 2]>,
}

struct Parsing {
    began: Instant,
    texts: Arc<ReadTexts>,
    how: HowRead,
    /// Users and groups are being looked up; before, the text is parsed.
    looks_up_accounts: bool,
}

/// Why texts are put in force.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::core) struct HowRead {
    /// The operator asks for it: also for those that were rolled back.
    pub(in crate::core) is_asked: bool,
    /// They have to be confirmed within this time.
    pub(in crate::core) confirm: Option<Duration>,
}

/// Texts that came into force.
pub(in crate::core) struct TextsInForce {
    /// Number of the preparation.
    pub(in crate::core) number: u64,
    pub(in crate::core) generation: u32,
    pub(in crate::core) texts: Arc<ReadTexts>,
    /// Unless they are confirmed until then, and names-sets that the policy knows.
    pub(in crate::core) until: Option<(u64, Vec<NamesSet>)>,
}

/// Rules to compile and fill into a slot.
#[derive(Clone)]
struct ReloadJob {
    number: u64,
    began: Instant,
    rules: Rules,
    names: Vec<NamesSet>,
    looked_up: Names,
    errors: [usize; 2],
    missing: [bool; 2],
    /// Made from the files; else from the rules in force, for names that the policy does not know.
    is_of_files: bool,
    /// The files' texts.
    texts: Option<Arc<ReadTexts>>,
    /// They have to be confirmed within this time: once they are switched to, until then by the boot clock.
    confirm: Option<Duration>,
    until_ns: Option<u64>,
}

impl Reload {
    /// Which tables were missing when the policy in force was made, if an earlier process left one.
    pub(in crate::core) fn start(&mut self, missing_before: Option<[bool; 2]>) {
        self.missing_before = missing_before;
    }

    /// The files may have changed.
    pub(in crate::core) fn files_changed(&mut self, shared: &mut SharedState, out: &mut Outbox) {
        self.reading_since.get_or_insert(out.now.at);
        // Before the next ones are made: together they take more memory.
        self.last_switch.forget_large(shared, out);
    }

    /// The files are not followed at present; that is tried again.
    pub(in crate::core) fn not_followed(&mut self, reason: &str, shared: &mut SharedState, out: &mut Outbox) {
        self.reading_since = None;
        let problem =
            format!("edits of the files are not noticed at present, which is tried again: {reason}");
        out.error(problem.clone());
        shared.problems.report(ProblemSource::Following, problem);
    }

    /// The files were read.
    /// Returns the number of their preparation; `None` if they have to be read again.
    pub(in crate::core) fn read(
        &mut self,
        texts: &Arc<ReadTexts>,
        how: HowRead,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) -> Option<u64> {
        if shared.problems.clear(ProblemSource::Following) {
            out.info("edits of the files are noticed again");
        }
        let began = self.reading_since.take().unwrap_or(out.now.at);
        if self.parsing.len() >= MOST_UNDER_WAY {
            if !std::mem::replace(&mut self.again, true) {
                out.info(format!(
                    "the files changed again while {MOST_UNDER_WAY} reloads wait for users and groups: they are read when one has ended"
                ));
            }
            return None;
        }
        self.last += 1;
        let parsing = Parsing { began, texts: Arc::clone(texts), how, looks_up_accounts: false };
        self.parsing.insert(self.last, parsing);
        let current = shared.policies.current.as_ref();
        let against = current.map(|current| (current.generation, current.rules.clone()));
        out.act(Action::Parse { number: self.last, texts: Box::new(texts.texts.clone()), against });
        Some(self.last)
    }

    /// The files are not to come into force by themselves.
    pub(in crate::core) fn not_wanted(&mut self, shared: &mut SharedState, out: &mut Outbox) {
        self.reading_since = None;
        if shared.problems.clear(ProblemSource::Following) {
            out.info("edits of the files are noticed again");
        }
    }

    /// Whether texts are on their way into force.
    pub(in crate::core) fn is_under_way(&self, number: u64) -> bool {
        let flipping = self.flipping.as_ref().map(|(job, _)| job);
        let jobs = [self.readying.as_ref(), self.filling.as_ref(), self.next.as_ref(), flipping];
        let is_it = |job: &ReloadJob| job.number == number && job.is_of_files;
        self.parsing.contains_key(&number) || jobs.into_iter().flatten().any(is_it)
    }

    /// No policy may come back any more: what waited for that goes on.
    pub(in crate::core) fn goes_on(&mut self, has_fallen_back: bool, shared: &SharedState, out: &mut Outbox) {
        if has_fallen_back {
            self.last_switch.taken_back(out.now.at);
        }
        self.fill_next(shared, out);
        out.step(Step::PrepareAgain);
    }

    /// The text is parsed; the users and groups that it names are being looked up.
    pub(in crate::core) fn looks_up_accounts(&mut self, number: u64) {
        if let Some(parsing) = self.parsing.get_mut(&number) {
            parsing.looks_up_accounts = true;
        }
    }

    /// Texts were parsed: they are put in force, or it is said why not.
    pub(in crate::core) fn parsed(
        &mut self,
        number: u64,
        prepared: Result<Box<Prepared>, String>,
        listeners: &Listeners,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Some(parsing) = self.parsing.remove(&number) else { return };
        let rolled_back = shared.policies.rolled_back;
        match prepared {
            Ok(prepared) if !parsing.how.is_asked && rolled_back == Some(parsing.texts.hash) => {
                out.debug("the files were rolled back meanwhile");
                out.act(Action::Free(Freed::Rules(prepared.rules)));
            }
            Ok(prepared) if number < self.counts => {
                out.debug("the files changed again meanwhile");
                out.act(Action::Free(Freed::Rules(prepared.rules)));
            }
            Ok(prepared) => {
                self.counts = number;
                self.take_in((number, parsing), *prepared, listeners, shared, out);
            }
            Err(error) => {
                let problem =
                    format!("the changed files could not be read: {error}; send SIGHUP to try again");
                if shared.policies.current.is_none() {
                    return out.act(Action::Exit(Err(problem)));
                }
                keep(number, &problem, shared, out);
            }
        }
        if std::mem::take(&mut self.again) {
            out.act(Action::ReadFiles(0));
        }
    }

    /// Whether the newest rules on their way into force, or in force since these were parsed, say the same.
    /// Only short tables are compared here: comparing long ones takes time, and to apply them again is harmless. Texts that
    /// are read twice, because a notice of the change came late, are parsed once.
    fn is_on_its_way(&self, prepared: &Prepared, shared: &SharedState) -> bool {
        let flipping = self.flipping.as_ref().map(|(job, _)| job);
        // Work that was dropped comes to its end, but not into force.
        let filling = self.filling.as_ref().filter(|job| !self.is_stale(job, shared));
        let jobs = [self.readying.as_ref(), self.next.as_ref(), filling, flipping];
        let (rules, missing) = match (jobs.into_iter().flatten().next(), &shared.policies.current) {
            (Some(job), _) => (&job.rules, job.missing),
            (None, Some(current)) => (&current.rules, current.missing),
            (None, None) => return false,
        };
        let is_short = |rules: &Rules| {
            rules.tables().allow.rules.len() + rules.tables().deny.rules.len() <= MOST_COMPARED
        };
        missing == prepared.missing
            && (rules.are_of_one_reading(&prepared.rules) || is_short(rules) && is_short(&prepared.rules))
            && rules.equals(prepared.rules.tables(), &prepared.rules.accounts)
    }

    fn take_in(
        &mut self,
        (number, parsing): (u64, Parsing),
        prepared: Prepared,
        listeners: &Listeners,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let current = shared.policies.current.as_ref();
        // What is being switched to is not what the files say.
        let is_settled = self.flipping.is_none();
        if is_settled
            && current.is_some_and(|current| {
                prepared.same_as == Some(current.generation) && current.missing == prepared.missing
            })
        {
            // The policies in preparation are older than these files.
            self.drop_older(out);
            out.act(Action::Free(Freed::Rules(prepared.rules)));
            out.step(Step::TextsAreInForce { number, texts: parsing.texts });
            match shared.problems.clear(ProblemSource::Files) {
                true => out.info("the files are again the same as the policy in force"),
                false => out.debug("the files changed, their rules did not"),
            }
            return;
        }
        if self.is_on_its_way(&prepared, shared) {
            out.debug("the files changed, their rules did not");
            return out.act(Action::Free(Freed::Rules(prepared.rules)));
        }
        say_diagnostics(&prepared, out);
        let before = current.map(|current| current.missing).or(self.missing_before);
        if let Some(reason) = before.and_then(|before| prepared.objection(before)) {
            if shared.policies.current.is_none() {
                let error = format!("the pinned policy stays in force, and no daemon updates it: {reason}");
                return out.act(Action::Exit(Err(error)));
            }
            out.act(Action::Free(Freed::Rules(prepared.rules)));
            return keep(number, &reason, shared, out);
        }
        let errors = prepared.errors();
        let job = ReloadJob {
            number,
            began: parsing.began,
            names: listeners.names_sets(shared),
            looked_up: Names::HostsLookedUp,
            errors,
            missing: prepared.missing,
            is_of_files: true,
            texts: Some(parsing.texts),
            confirm: parsing.how.confirm,
            until_ns: None,
            rules: prepared.rules,
        };
        if job.rules.asks_for_users {
            out.act(Action::PrepareUsers { number });
            self.readying = Some(job);
        } else {
            if let Some(older) = self.readying.take() {
                out.act(Action::Free(Freed::Rules(older.rules)));
            }
            self.fill(job, shared, out);
        }
    }

    /// Whether a policy on its way into force asks for users.
    pub(in crate::core) fn asks_for_users(&self) -> bool {
        let flipping = self.flipping.as_ref().map(|(job, _)| job);
        let mut jobs =
            [self.readying.as_ref(), self.filling.as_ref(), self.next.as_ref(), flipping].into_iter();
        jobs.any(|job| job.is_some_and(|job| job.rules.asks_for_users))
    }

    /// The kernel can, or cannot, make connections wait.
    pub(in crate::core) fn users_ready(
        &mut self,
        number: u64,
        ready: Result<(), String>,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let Some(job) = self.readying.take_if(|job| job.number == number) else { return };
        let looked_up = match ready {
            Ok(()) => Names::LookedUp,
            Err(error) => {
                out.warn(format!("this kernel cannot make connections wait: every user is unknown: {error}"));
                Names::HostsLookedUp
            }
        };
        self.fill(ReloadJob { looked_up, ..job }, shared, out);
    }

    /// The policy in force does not know some names of listeners: its rules are compiled again with them.
    pub(in crate::core) fn prepare_again(
        &mut self,
        listeners: &Listeners,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        if !listeners.are_names_wanted() {
            return;
        }
        let is_under_way = self.readying.is_some() || self.next.is_some();
        let Some(current) = shared.policies.current.as_ref().filter(|_| !is_under_way) else { return };
        if self.filling.is_some() || self.flipping.is_some() || shared.policies.before.is_some() {
            // Names that are missing by then are added before the flip; or once no policy may come back.
            return;
        }
        self.last += 1;
        let job = ReloadJob {
            number: self.last,
            began: out.now.at,
            rules: current.rules.clone(),
            names: listeners.names_sets(shared),
            looked_up: current.looked_up,
            errors: current.errors,
            missing: current.missing,
            is_of_files: false,
            texts: None,
            confirm: None,
            until_ns: None,
        };
        self.fill(job, shared, out);
    }

    fn fill(&mut self, job: ReloadJob, shared: &SharedState, out: &mut Outbox) {
        // The slot of a policy that may come back is not free.
        if self.filling.is_some() || self.flipping.is_some() || shared.policies.before.is_some() {
            if let Some(older) = self.next.replace(job) {
                out.act(Action::Free(Freed::Rules(older.rules)));
            }
            return;
        }
        out.act(Action::Fill(Box::new(Fill {
            number: job.number,
            rules: job.rules.clone(),
            names: job.names.clone(),
            looked_up: job.looked_up,
            flags: Prepared::flags(job.missing, shared.is_audit()),
            unconfirmed: job.confirm.and(job.texts.as_ref()).map(|texts| texts.hash),
        })));
        self.filling = Some(job);
    }

    fn fill_next(&mut self, shared: &SharedState, out: &mut Outbox) {
        if let Some(next) = self.next.take() {
            self.fill(next, shared, out);
        }
    }

    /// Drops all work that was begun before.
    fn drop_older(&mut self, out: &mut Outbox) {
        for job in self.readying.take().into_iter().chain(self.next.take()) {
            out.act(Action::Free(Freed::Rules(job.rules)));
        }
        if let Some(filling) = &mut self.filling {
            filling.is_of_files = false;
        }
    }

    /// The idle slot is filled.
    pub(in crate::core) fn filled(
        &mut self,
        number: u64,
        filled: Result<Box<Filled>, String>,
        listeners: &mut Listeners,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Some(mut job) = self.filling.take_if(|job| job.number == number) else { return };
        let is_dropped = self.next.is_some() || self.readying.is_some() || self.is_stale(&job, shared);
        match filled {
            Ok(filled) if is_dropped => {
                discard(number, filled, out);
                self.fill_next(shared, out);
                if self.filling.is_none() && self.readying.is_none() {
                    out.step(Step::PrepareAgain);
                }
            }
            Ok(filled) => match late_names(&job, &filled, listeners, shared) {
                Some(names) => {
                    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                    job.until_ns = job.confirm.map(|time| out.now.boot_ns.saturating_add(nanoseconds(time)));
                    out.act(Action::Flip(Flip {
                        number,
                        names,
                        watch_accepted: filled.policy.acts_on_accepted && !shared.is_audit(),
                        banners: filled.policy.has_allow_banners && !shared.is_audit(),
                        until: job.until_ns.map(|boot_ns| until(boot_ns, &filled, shared)),
                    }));
                    self.flipping = Some((job, filled));
                }
                None => {
                    discard(number, filled, out);
                    self.fill(ReloadJob { names: listeners.names_sets(shared), ..job }, shared, out);
                }
            },
            Err(error) => {
                self.failed(&job, &error, listeners, shared, out);
                self.fill_next(shared, out);
            }
        }
    }

    /// Whether a job compiles rules for new names only, and these rules are no longer in force.
    fn is_stale(&self, job: &ReloadJob, shared: &SharedState) -> bool {
        let is_current = |current: &InForce| current.rules.are_of_one_reading(&job.rules);
        !job.is_of_files && !shared.policies.current.as_ref().is_some_and(is_current)
    }

    /// A policy could not be put in force.
    fn failed(
        &mut self,
        job: &ReloadJob,
        error: &str,
        listeners: &mut Listeners,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        if shared.policies.current.is_none() {
            return out.act(Action::Exit(Err(error.to_owned())));
        }
        if job.is_of_files {
            keep(job.number, error, shared, out);
        } else {
            listeners.names_not_taken(error, shared, out);
        }
    }

    /// A flip succeeded or failed.
    pub(in crate::core) fn flipped(
        &mut self,
        number: u64,
        flipped: Result<u32, String>,
        names_left_out: &[NamesId],
        listeners: &mut Listeners,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Some((job, filled)) = self.flipping.take_if(|(job, _)| job.number == number) else { return };
        match flipped {
            Ok(generation) => {
                let known = listeners.names_sets(shared);
                self.in_force((generation, job.began), &job, *filled, shared, out);
                let until = match job.until_ns {
                    // Those that the policy before does not know stay unknown: it may come back.
                    Some(until_ns) => Some((until_ns, known)),
                    None => {
                        listeners.names_known(&known, shared, out);
                        None
                    }
                };
                if let Some(texts) = job.texts.filter(|_| job.is_of_files) {
                    out.step(Step::TextsInForce(TextsInForce { number, generation, texts, until }));
                }
                out.step(Step::PolicyInForce);
            }
            Err(_) if !names_left_out.is_empty() => {
                discard(number, filled, out);
                self.fill(ReloadJob { names: listeners.names_sets(shared), ..job }, shared, out);
            }
            Err(error) => {
                discard(number, filled, out);
                self.failed(&job, &error, listeners, shared, out);
            }
        }
        if self.filling.is_none() {
            self.fill_next(shared, out);
        }
    }

    fn in_force(
        &mut self,
        (generation, began): (u32, Instant),
        job: &ReloadJob,
        filled: Filled,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Filled { policy, compared, .. } = filled;
        let policy = Arc::new(policy);
        let current = InForce {
            rules: job.rules.clone(),
            policy,
            generation,
            looked_up: job.looked_up,
            applied_at: out.now.wall,
            errors: job.errors,
            missing: job.missing,
        };
        let (oldest, before) = match job.until_ns {
            Some(_) => (shared.policies.put_until_confirmed(current), None),
            None => shared.policies.put(current),
        };
        for rules in oldest {
            out.act(Action::Free(Freed::Rules(rules)));
        }
        if let Some(before) = before {
            out.act(Action::Free(Freed::Policy(before.policy)));
        }
        if job.is_of_files {
            shared.problems.clear(ProblemSource::Files);
        }
        let (in_force, is_of_files) = (out.now.at, job.is_of_files);
        self.last_switch.made(Settling { generation, began, in_force, is_of_files, compared });
    }

    /// Enforcement is about to end, or could not be ended: meanwhile no policy is said to be applied.
    pub(in crate::core) fn ending(&mut self, is_ending: bool) {
        self.last_switch.ending(is_ending);
    }

    /// No evaluation of the previous policy is left. Returns whether `generation` was the one waited for.
    pub(in crate::core) fn settled(
        &mut self,
        generation: u32,
        tables: Duration,
        problem: Option<String>,
        out: &mut Outbox,
    ) -> bool {
        self.last_switch.settled(generation, tables, problem, out)
    }

    /// How many things are held: policies on their way into force.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 3] {
        let under_way =
            [self.readying.is_some(), self.filling.is_some(), self.next.is_some(), self.flipping.is_some()];
        [
            ("texts that are parsed", self.parsing.len()),
            ("policies on their way", under_way.into_iter().filter(|it| *it).count()),
            ("policies that settle", usize::from(self.last_switch.is_settling())),
        ]
    }

    /// Reports that the files as they are now are not in force yet.
    pub(in crate::core) fn second(&mut self, shared: &mut SharedState, out: &mut Outbox) {
        self.last_switch.forget_large(shared, out);
        let Some((number, parsing)) = self.parsing.last_key_value() else { return };
        let passed = out.now.at.saturating_duration_since(parsing.began);
        if passed < LONG || *number <= self.said || *number < self.counts {
            return;
        }
        let problem = if parsing.looks_up_accounts {
            format!(
                "the look-up of a user or group that the tables name has taken {} s so far: check the name service (nsswitch.conf)",
                passed.as_secs()
            )
        } else {
            return;
        };
        self.said = *number;
        out.warn(format!("the previous policy stays in force until then: {problem}"));
        shared.problems.report(ProblemSource::Files, problem);
    }
}

/// The previous policy stays in force: reports why.
fn keep(number: u64, reason: &str, shared: &mut SharedState, out: &mut Outbox) {
    out.step(Step::TextsNotTaken { number, reason: reason.to_owned() });
    out.error(format!("the previous policy stays in force: {reason}"));
    shared.problems.report(ProblemSource::Files, reason.to_owned());
}

/// A deadline, and the process names that mean the same in a policy and in the one in force.
fn until(boot_ns: u64, filled: &Filled, shared: &SharedState) -> Until {
    let current = shared.policies.current.as_ref();
    let before: HashSet<_> = current.into_iter().flat_map(|current| &current.policy.comms).collect();
    let comms = filled.policy.comms.iter().filter(|comm| before.contains(comm));
    Until { boot_ns, comms: comms.copied().collect() }
}

fn discard(number: u64, filled: Box<Filled>, out: &mut Outbox) {
    out.act(Action::Discard { number });
    out.act(Action::Free(Freed::Policy(Arc::new(filled.policy))));
}

/// Names-sets that became known after a policy was compiled, with their class in it; `None` if the policy has
/// to be compiled again.
fn late_names(
    job: &ReloadJob,
    filled: &Filled,
    listeners: &Listeners,
    shared: &SharedState,
) -> Option<Vec<(NamesId, u32)>> {
    let known: HashSet<NamesId> = job.names.iter().map(NamesSet::id).collect();
    let late = listeners.names_sets(shared).into_iter().filter(|set| !known.contains(&set.id()));
    let classes = late.map(|set| Some((set.id(), filled.policy.class_of(&set)?)));
    let classes: Option<Vec<_>> = classes.collect();
    Some(classes?.into_iter().filter(|(_, class)| *class != 0).collect())
}

fn say_diagnostics(prepared: &Prepared, out: &mut Outbox) {
    let mut hints = 0;
    for diagnostic in &prepared.diagnostics {
        match diagnostic.severity {
            Severity::Error => out.error(diagnostic.to_string()),
            Severity::Warning => out.warn(diagnostic.to_string()),
            Severity::Hint => hints += 1 + diagnostic.more,
        }
    }
    if hints > 0 {
        out.info(format!("hints on the tables: {hints}; \"tcpw check\" shows them"));
    }
}
