//! Which texts may come into force: at once, when that is asked for, or until they are confirmed.
//!
//! In: texts that were read, requests to apply, confirm and roll back, what an earlier process kept. Out: texts for
//! `reload`, the end of a deadline, what is kept for the next start. Invariant: a policy that is not confirmed by its
//! deadline is over then, in the kernel and here, by the same clock; its texts do not come into force again by themselves,
//! in this process or the next.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use super::{
    control::reply,
    listeners::Listeners,
    reload::{HowRead, Reload, TextsInForce},
};
use crate::{
    control::{ApplyAnswer, ApplyDone, ApplyOrder, ConfirmStatus, Response},
    core::{
        action::{Action, Freed, Store},
        input::{Kept, Now, ReadTexts, Stored},
        outbox::{Outbox, Step},
        policies::InForce,
        problems::ProblemSource,
        shared::SharedState,
    },
    names::NamesSet,
    parse::text::TextsHash,
};

/// The boot clock and that of deadlines are not read at the same moment.
const AFTER: Duration = Duration::from_millis(1);

/// What is in force by whose order, and what waits.
#[derive(Default)]
pub(in crate::core) struct Apply {
    /// The copy for the start.
    copy: Option<Arc<ReadTexts>>,
    /// Hashes of the texts in force, of those that were read last, and of the copy on the disk.
    in_force: Option<TextsHash>,
    files: Option<TextsHash>,
    confirmed: Option<TextsHash>,
    /// Numbers of reads.
    last_read: u64,
    asked: Option<Asked>,
    waits: Option<Waiting>,
    /// A confirmation that is being kept on the disk, and its request.
    confirming: Option<(u64, ApplyAnswer)>,
}

/// The operator wants the files in force.
struct Asked {
    /// The request; `None` for SIGHUP.
    request: Option<u64>,
    confirm: Option<Duration>,
    /// The read that serves it.
    read: u64,
    /// The preparation of these texts.
    number: Option<u64>,
    /// What is answered once it is settled, and kept on the disk.
    answer: Option<ApplyAnswer>,
    is_settled: bool,
    is_stored: bool,
}

/// A policy that waits for its confirmation.
struct Waiting {
    generation: u32,
    before: u32,
    texts: Arc<ReadTexts>,
    /// Hash of the texts of the policy before, and which texts were not confirmed then.
    hash_before: Option<TextsHash>,
    until_ns: u64,
    until: Instant,
    /// Seconds since 1970.
    until_s: u64,
    /// Names-sets that it knows, and the policy before perhaps does not.
    names: Vec<NamesSet>,
}

impl Apply {
    /// What an earlier process kept.
    pub(in crate::core) fn start(&mut self, kept: Kept, shared: &mut SharedState, out: &mut Outbox) {
        self.confirmed = kept.confirmed.as_ref().map(|copy| copy.hash);
        shared.policies.rolled_back = kept.rolled_back.filter(|hash| self.confirmed != Some(*hash));
        self.copy = kept.confirmed;
        if kept.fell_back {
            out.warn("the policy that the last daemon left was not confirmed: it is over");
        }
        if let Some(problem) = kept.problem {
            let problem = format!("what the last daemon kept is not used: {problem}");
            out.error(problem.clone());
            shared.problems.report(ProblemSource::Storing, problem);
        }
    }

    /// When a policy is over unless it is confirmed.
    pub(in crate::core) fn deadline(&self) -> Option<Instant> {
        self.waits.as_ref().map(|waits| waits.until)
    }

    /// The policy that waits for its confirmation, for the status.
    pub(in crate::core) fn status(&self) -> Option<ConfirmStatus> {
        self.waits.as_ref().map(|waits| ConfirmStatus { before: waits.before, until: waits.until_s })
    }

    /// SIGHUP: the files are read, and put in force also if they would not be by themselves.
    pub(in crate::core) fn hang_up(&mut self, shared: &SharedState, out: &mut Outbox) {
        if shared.config.follow_files && shared.policies.rolled_back.is_none() {
            return out.act(Action::ReadFiles(0));
        }
        // The later one counts.
        self.asked.take_if(|asked| asked.request.is_none());
        self.ask(None, &ApplyOrder::default(), shared, out);
    }

    /// The files are to be put in force.
    pub(in crate::core) fn ask(
        &mut self,
        request: Option<u64>,
        order: &ApplyOrder,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let refused = if let Some(waits) = &self.waits {
            Some(format!(
                "generation {} waits for its confirmation: \"tcpw confirm\" keeps it, \"tcpw rollback\" ends it",
                waits.generation
            ))
        } else if self.asked.is_some() || self.confirming.is_some() {
            Some("the files are being put in force already: try again when that is done".into())
        } else if shared.policies.current.is_none() {
            Some("the start is not complete: try again".into())
        } else if order.confirm_s.is_some() && (self.confirmed.is_none() || self.confirmed != self.in_force) {
            Some(match shared.config.follow_files {
                true => "with follow-files = true edits come into force by themselves: set follow-files = false to \
                         try them with --confirm"
                    .into(),
                false => "no copy of the policy in force is on the disk, to come back to: see \"tcpw status\"".into(),
            })
        } else {
            None
        };
        if let Some(reason) = refused {
            return refuse(request, reason, out);
        }
        self.last_read += 1;
        self.asked = Some(Asked {
            request,
            confirm: order.confirm_s.map(|seconds| Duration::from_secs(seconds.into())),
            read: self.last_read,
            number: None,
            answer: None,
            is_settled: false,
            is_stored: true,
        });
        out.act(Action::ReadFiles(self.last_read));
    }

    /// Texts were read: they are put in force, if they may be.
    pub(in crate::core) fn read(
        &mut self,
        texts: Box<ReadTexts>,
        reload: &mut Reload,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let files: Arc<ReadTexts> = texts.into();
        self.files = Some(files.hash);
        let is_rolled_back = shared.policies.rolled_back == Some(files.hash);
        let is_first = shared.policies.current.is_none();
        if let Some(asked) = self.asked.as_mut().filter(|it| it.number.is_none() && files.number >= it.read) {
            let how = HowRead { is_asked: true, confirm: asked.confirm };
            asked.number = reload.read(&files, how, shared, out);
            if asked.number.is_none() {
                self.fail("reloads wait for users and groups: try again when they have ended", out);
            }
        } else if is_first
            && let Some(copy) = self.copy.take_if(|_| is_rolled_back || !shared.config.follow_files)
        {
            reload.read(&copy, HowRead::default(), shared, out);
        } else if is_first || shared.config.follow_files && !is_rolled_back {
            reload.read(&files, HowRead::default(), shared, out);
        } else {
            reload.not_wanted(shared, out);
        }
        self.look(shared);
    }

    /// The files are not read.
    pub(in crate::core) fn not_read(&mut self, reason: &str, out: &mut Outbox) {
        self.fail(&format!("the files were not read: {reason}"), out);
    }

    /// Texts came into force.
    pub(in crate::core) fn in_force(
        &mut self,
        new: TextsInForce,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let TextsInForce { number, generation, texts, until } = new;
        let hash_before = self.in_force.replace(texts.hash);
        self.copy = None;
        let mut asked = self.asked.as_mut().filter(|asked| asked.number == Some(number));
        let before = shared.policies.before.as_ref().map(|before| before.generation);
        let mut answer =
            ApplyAnswer { done: ApplyDone::Applied, generation, other: None, until: None, seconds: None };
        if let (Some((until_ns, names)), Some(before)) = (until, before) {
            let left = Duration::from_nanos(until_ns.saturating_sub(out.now.boot_ns));
            let until_s = seconds(out.now, left);
            let time = asked.as_ref().and_then(|asked| asked.confirm).unwrap_or(left).as_secs();
            out.warn(format!(
                "generation {generation} is in force for {time} s, unless \"tcpw confirm\" keeps it; then generation {before} comes back"
            ));
            answer = ApplyAnswer {
                done: ApplyDone::Waits,
                other: Some(before),
                until: Some(until_s),
                seconds: u32::try_from(time).ok(),
                ..answer
            };
            shared.policies.rolled_back = Some(texts.hash);
            let until = out.now.at + left + AFTER;
            self.waits =
                Some(Waiting { generation, before, texts, hash_before, until_ns, until, until_s, names });
        } else if !texts.is_copy {
            let is_any_kept = self.confirmed.is_some() || shared.policies.rolled_back.is_some();
            shared.policies.rolled_back = None;
            if !shared.config.follow_files {
                if let Some(asked) = &mut asked {
                    asked.is_stored = false;
                }
                out.act(Action::Store(Store::Confirmed(texts)));
            } else if is_any_kept {
                out.act(Action::Store(Store::Nothing));
            }
            self.confirmed = None;
        }
        if let Some(asked) = asked {
            asked.answer = Some(answer);
        }
        self.look(shared);
    }

    /// The policy in force says what these texts say.
    pub(in crate::core) fn are_in_force(
        &mut self,
        number: u64,
        texts: Arc<ReadTexts>,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let asked = self.asked.take_if(|asked| asked.number == Some(number));
        if self.waits.is_none() {
            self.in_force = Some(texts.hash);
            if !shared.config.follow_files && self.confirmed != Some(texts.hash) && !texts.is_copy {
                out.act(Action::Store(Store::Confirmed(texts)));
            }
        }
        self.look(shared);
        let Some(Asked { request: Some(request), confirm, .. }) = asked else { return };
        let generation = shared.policies.generation().unwrap_or_default();
        let response = match confirm {
            None => Response::Apply(ApplyAnswer {
                done: ApplyDone::WasInForce,
                generation,
                other: None,
                until: None,
                seconds: None,
            }),
            Some(_) => Response::Failed(format!(
                "the files are in force already, as generation {generation}: there is nothing to confirm; with \
                 follow-files = false edits come into force only with \"tcpw apply\""
            )),
        };
        reply(request, response, out);
    }

    /// Texts do not come into force.
    pub(in crate::core) fn not_taken(&mut self, number: u64, reason: &str, out: &mut Outbox) {
        if self.asked.as_ref().is_some_and(|asked| asked.number == Some(number)) {
            self.fail(&format!("the previous policy stays in force: {reason}"), out);
        }
    }

    /// A policy is settled.
    pub(in crate::core) fn settled(&mut self, generation: u32, out: &mut Outbox) {
        let is_it = |asked: &&mut Asked| asked.answer.as_ref().is_some_and(|it| it.generation == generation);
        if let Some(asked) = self.asked.as_mut().filter(is_it) {
            asked.is_settled = true;
            self.answer(out);
        }
    }

    /// Something was kept for the next start, or could not be.
    pub(in crate::core) fn stored(
        &mut self,
        what: Stored,
        result: Result<(), String>,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let result = result.map_err(|error| format!("it is not kept for the next start: {error}"));
        match &result {
            Ok(()) => drop(shared.problems.clear(ProblemSource::Storing)),
            Err(error) => {
                let problem = format!("the policy in force may not be that of the next start: {error}");
                out.error(problem.clone());
                shared.problems.report(ProblemSource::Storing, problem);
            }
        }
        let Stored::Confirmed(hash) = what else { return };
        self.confirmed = result.is_ok().then_some(hash);
        if let Some((request, answer)) = self.confirming.take() {
            let response = match result {
                Ok(()) => Response::Apply(answer),
                Err(error) => {
                    Response::Failed(format!("generation {} is confirmed, but {error}", answer.generation))
                }
            };
            return reply(request, response, out);
        }
        let Some(asked) = self.asked.as_mut().filter(|asked| !asked.is_stored) else { return };
        match (result, &asked.answer) {
            (Err(error), Some(answer)) => {
                let reason = format!("generation {} is in force, but {error}", answer.generation);
                self.fail(&reason, out);
            }
            (Ok(()) | Err(_), _) => {
                asked.is_stored = true;
                self.answer(out);
            }
        }
    }

    /// A later edit took the place of texts that were asked for: says so.
    pub(in crate::core) fn look_at_reload(&mut self, reload: &Reload, out: &mut Outbox) {
        let Some(asked) = self.asked.as_ref().filter(|asked| asked.answer.is_none()) else { return };
        if asked.number.is_some_and(|number| !reload.is_under_way(number)) {
            self.fail("the same files, or later ones, are being put in force: see \"tcpw status\"", out);
        }
    }

    /// The policy in force stays.
    pub(in crate::core) fn confirm(
        &mut self,
        request: u64,
        (listeners, reload): (&mut Listeners, &mut Reload),
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Some(waits) = self.waits.take() else { return nothing_waits(request, shared, out) };
        let comms = shared.policies.current.as_ref().map(|current| current.policy.comms.clone());
        out.act(Action::Confirm { comms: comms.unwrap_or_default() });
        free(shared.policies.confirm(), out);
        shared.policies.rolled_back = None;
        let generation = waits.generation;
        out.info(format!("confirmed generation {generation}"));
        let answer =
            ApplyAnswer { done: ApplyDone::Confirmed, generation, other: None, until: None, seconds: None };
        self.confirmed = None;
        self.confirming = Some((request, answer));
        out.act(Action::Store(Store::Confirmed(waits.texts)));
        listeners.names_known(&waits.names, shared, out);
        self.look(shared);
        reload.goes_on(false, shared, out);
    }

    /// The policy before is in force again, because the operator says so.
    pub(in crate::core) fn roll_back(
        &mut self,
        request: u64,
        reload: &mut Reload,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let Some(waits) = self.waits.take() else { return nothing_waits(request, shared, out) };
        let answer = ApplyAnswer {
            done: ApplyDone::RolledBack,
            generation: waits.before,
            other: Some(waits.generation),
            until: None,
            seconds: None,
        };
        self.falls_back(waits, "rolled back", reload, shared, out);
        reply(request, Response::Apply(answer), out);
    }

    /// A policy whose deadline has passed is over. The kernel sees to that by itself; this makes it last.
    pub(in crate::core) fn look_at_clock(
        &mut self,
        reload: &mut Reload,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        let now_ns = out.now.boot_ns;
        if let Some(waits) = self.waits.take_if(|waits| now_ns >= waits.until_ns) {
            self.falls_back(waits, "not confirmed in time", reload, shared, out);
        }
    }

    fn falls_back(
        &mut self,
        waits: Waiting,
        why: &str,
        reload: &mut Reload,
        shared: &mut SharedState,
        out: &mut Outbox,
    ) {
        if self.asked.as_ref().is_some_and(|asked| asked.answer.is_some()) {
            self.fail("it was over before it was settled", out);
        }
        let comms = shared.policies.before.as_ref().map(|before| before.policy.comms.clone());
        out.act(Action::FallBack { comms: comms.unwrap_or_default() });
        free(shared.policies.fall_back(), out);
        self.in_force = waits.hash_before;
        out.warn(format!(
            "generation {} was {why}: generation {} is in force again",
            waits.generation, waits.before
        ));
        self.look(shared);
        out.step(Step::PolicyInForce);
        reload.goes_on(true, shared, out);
    }

    /// Says in the status whether the files are in force, and for how long.
    fn look(&self, shared: &mut SharedState) {
        let rolled_back = shared.policies.rolled_back;
        let problem = if let Some(waits) = &self.waits {
            Some(format!(
                "generation {} waits for its confirmation: \"tcpw confirm\" keeps it, \"tcpw rollback\" ends it; \
                 without either generation {} comes back",
                waits.generation, waits.before
            ))
        } else if self.in_force.is_none() || self.files.is_none() || self.files == self.in_force {
            None
        } else if self.files == rolled_back {
            Some(
                "the files were not confirmed, and the policy before them is in force: \"tcpw apply\" puts them in \
                 force again; or edit them"
                    .into(),
            )
        } else if !shared.config.follow_files {
            Some("the files were edited and are not in force: \"tcpw apply\" puts them in force".into())
        } else {
            None
        };
        match problem {
            Some(problem) => shared.problems.report(ProblemSource::Apply, problem),
            None => drop(shared.problems.clear(ProblemSource::Apply)),
        }
    }

    /// Answers what was asked for, if it is done.
    fn answer(&mut self, out: &mut Outbox) {
        let Some(asked) = self.asked.take_if(|asked| asked.is_settled && asked.is_stored) else { return };
        if let (Some(request), Some(answer)) = (asked.request, asked.answer) {
            reply(request, Response::Apply(answer), out);
        }
    }

    /// What was asked for is not done.
    fn fail(&mut self, reason: &str, out: &mut Outbox) {
        let Some(asked) = self.asked.take() else { return };
        if asked.confirm.is_some() && asked.answer.is_none() {
            // It was kept already, perhaps, that they are not confirmed.
            out.step(Step::KeepRolledBack);
        }
        if let Some(request) = asked.request {
            reply(request, Response::Failed(reason.into()), out);
        }
    }

    /// Keeps which texts are not to come into force by themselves.
    pub(in crate::core) fn keep_rolled_back(&self, shared: &SharedState, out: &mut Outbox) {
        out.act(Action::Store(Store::RolledBack(shared.policies.rolled_back)));
    }

    /// How many things are held: orders, policies that wait.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 2] {
        [
            ("orders to apply", usize::from(self.asked.is_some()) + usize::from(self.confirming.is_some())),
            ("policies to be confirmed", usize::from(self.waits.is_some())),
        ]
    }
}

fn refuse(request: Option<u64>, reason: String, out: &mut Outbox) {
    match request {
        Some(request) => reply(request, Response::Failed(reason), out),
        None => out.warn(format!("SIGHUP: the files are not put in force: {reason}")),
    }
}

fn nothing_waits(request: u64, shared: &SharedState, out: &mut Outbox) {
    let generation = shared.policies.generation().unwrap_or_default();
    let reason =
        format!("no policy waits for its confirmation: generation {generation} is in force, and stays");
    reply(request, Response::Failed(reason), out);
}

fn free(over: Option<InForce>, out: &mut Outbox) {
    if let Some(over) = over {
        out.act(Action::Free(Freed::Policy(over.policy)));
    }
}

/// Seconds since 1970, so much later.
fn seconds(now: Now, later: Duration) -> u64 {
    (now.wall + later).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
