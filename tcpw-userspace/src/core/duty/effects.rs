//! Commands and connections for the helper: which of them it gets, and when.
//!
//! In: commands of rules, connections that get a banner or a `twist`, reports of the helper. Out: orders to
//! the helper; its start and end.
//! Invariant: every requested command is counted exactly once, as run, suppressed or lost. In audit mode no
//! command is run.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tcpw_common::metric::Metric;
use tcpw_common::outcome::{BANNER, KEEPALIVE, REDIRECT, REPORT};

use crate::{
    core::{
        action::{Action, HelperAction},
        input::HelperSaid,
        outbox::Outbox,
        shared::SharedState,
    },
    effects::{
        Command, Serving, Settings,
        limits::{Limits, grouped},
        wire::{Order, Report},
    },
    evaluate::{
        judgement::{Effect, EffectAction, Judgement, Verdict},
        request::CommandResult,
    },
};

/// Commands that wait for others to end.
const MOST_WAITING: usize = 64;

/// How long the helper may take to give up root, or to kill commands after their time limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// After a helper ended early: the first pause, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Networks that a report names.
const MAX_LINES: usize = 20;

/// How commands ended; `None` if that will never be known.
pub(in crate::core) type Ended = Vec<(u64, Option<CommandResult>)>;

/// Commands the helper runs, and those that wait for it.
pub(in crate::core) struct HelperCommands {
    settings: Settings,
    limits: Limits,
    waiting: VecDeque<Order>,
    running: HashMap<u64, Instant>,
    /// Of those that run or wait: an attempt waits for the result.
    asked: HashSet<u64>,
    /// Of those that run: they serve a connection, and last as long as its client wants.
    serving: HashSet<u64>,
    next_id: u64,
    helper: Option<RunningHelper>,
    helpers: u64,
    /// The next helper is not started before this.
    start_at: Option<Instant>,
    pause: Duration,
    /// Files were made that the running helper may not write to: it is replaced when it is idle.
    gives_way: bool,
    counts: CommandCounts,
    report_at: Option<Instant>,
    has_commands: bool,
}

/// What became of the commands, since the start.
#[derive(Clone, Copy, Debug, Default)]
struct CommandCounts {
    /// Handed to the helper.
    run: u64,
    /// Not run, because of a limit.
    suppressed: u64,
    /// Not run, or not known to have ended: the helper was gone.
    lost: u64,
    /// Of those run: killed after their time.
    timed_out: u64,
    /// Connections that the helper got.
    connections: u64,
}

struct RunningHelper {
    number: u64,
    since: Instant,
    is_ready: bool,
}

impl HelperCommands {
    /// No helper is running.
    pub(in crate::core) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            limits: Limits::new(settings.per_minute, settings.per_minute_and_source, now),
            settings,
            waiting: VecDeque::new(),
            running: HashMap::new(),
            asked: HashSet::new(),
            serving: HashSet::new(),
            next_id: 0,
            helper: None,
            helpers: 0,
            start_at: None,
            pause: PAUSES[0],
            gives_way: false,
            counts: CommandCounts::default(),
            report_at: None,
            has_commands: false,
        }
    }

    /// A policy is in force: the helper is started before the first of its commands is wanted; where there
    /// are none, it is not.
    pub(in crate::core) fn policy_in_force(&mut self, shared: &SharedState, out: &mut Outbox) {
        if shared.is_audit() {
            return;
        }
        let Some(rules) = shared.policies.current_rules() else { return };
        let mut files: Vec<PathBuf> = Vec::new();
        // The helper sends banners, too.
        self.has_commands = shared.redirects();
        for text in &*rules.commands {
            self.has_commands = true;
            let is_named = |file: &&PathBuf| {
                let file = file.as_os_str().as_encoded_bytes();
                text.windows(file.len().max(1)).any(|window| window == file)
            };
            files.extend(self.settings.files.iter().filter(is_named).cloned());
        }
        files.sort();
        files.dedup();
        out.act(Action::Helper(HelperAction::Files(files)));
        if self.has_commands && self.helper.is_none() {
            self.start(out);
        }
        out.act(Action::CheckCommands(rules.clone()));
    }

    /// The files that commands name changed, or were made: once the helper is idle it is replaced by one that may
    /// write to them.
    pub(in crate::core) fn files_made(&mut self, out: &mut Outbox) {
        self.gives_way = true;
        self.give_way(out);
    }

    fn give_way(&mut self, out: &mut Outbox) {
        if self.gives_way && self.running.is_empty() {
            self.gives_way = false;
            if self.helper.take().is_some() {
                out.act(Action::Helper(HelperAction::End));
                self.start(out);
            }
        }
    }

    /// Runs a command because of `source`, if the limits permit it. One that may be forged takes no more than half of what
    /// they permit.
    pub(in crate::core) fn run(
        &mut self,
        (source, is_proven): (IpAddr, bool),
        command: &Command,
        out: &mut Outbox,
    ) {
        let now = out.now.at;
        if !is_proven && !self.has_room_for_unproven(source, now) {
            self.suppress(source);
        } else if self.queue(source, command, now).is_some() {
            self.go_on(out);
        }
    }

    /// As [`run`](Self::run), but how it ends comes with [`said`](Self::said), under this number.
    pub(in crate::core) fn ask(
        &mut self,
        source: IpAddr,
        command: &Command,
        out: &mut Outbox,
    ) -> Option<u64> {
        let id = self.queue(source, command, out.now.at)?;
        self.asked.insert(id);
        self.go_on(out);
        Some(id)
    }

    /// Whether a command may be run for a client that may not have the address it shows: not more than half of what the
    /// limits permit is used, at once and in a minute.
    pub(in crate::core) fn has_room_for_unproven(&mut self, source: IpAddr, now: Instant) -> bool {
        let running = self.running.len() - self.serving.len();
        let half = (self.settings.at_once as usize).div_ceil(2);
        running + self.waiting.len() < half && self.limits.is_half_full(source, now)
    }

    fn queue(&mut self, source: IpAddr, command: &Command, now: Instant) -> Option<u64> {
        if self.waiting.len() >= MOST_WAITING || !self.limits.take(source, now) {
            self.suppress(source);
            return None;
        }
        self.next_id += 1;
        self.waiting.push_back(command.surroundings.order(self.next_id, command.text.to_vec()));
        Some(self.next_id)
    }

    /// Gives a connection to the helper if the limits permit it, else ends it; whether it was given. It counts as
    /// served once the helper has it ([`said`](Self::said)). Connections and other
    /// commands have separate limits, because a client may keep its connection open.
    pub(in crate::core) fn serve(
        &mut self,
        (source, connection): (IpAddr, u64),
        serving: &Serving,
        out: &mut Outbox,
    ) -> bool {
        let now = out.now.at;
        let is_full = self.serving.len() >= self.settings.at_once as usize;
        if is_full || !self.limits.take(source, now) {
            self.suppress(source);
            out.act(Action::Close(connection));
            return false;
        }
        if self.helper.is_none() && self.start_at.is_none_or(|at| now >= at) {
            self.start(out);
        }
        if self.helper.is_none() {
            self.counts.lost += 1;
            out.warn("a client gets no banner and no twist: the helper is gone");
            out.act(Action::Close(connection));
            return false;
        }
        self.next_id += 1;
        let order = serving.order(self.next_id);
        out.act(Action::Helper(HelperAction::Serve { connection, order }));
        self.running.insert(self.next_id, now);
        self.serving.insert(self.next_id);
        self.counts.run += 1;
        true
    }

    fn suppress(&mut self, source: IpAddr) {
        self.counts.suppressed += 1;
        self.limits.suppress(source);
    }

    /// The helper reported something, or is gone. Returns the results of commands that were waited for.
    pub(in crate::core) fn said(&mut self, number: u64, said: HelperSaid, out: &mut Outbox) -> Ended {
        let mut ended = Vec::new();
        if self.helper.as_ref().is_none_or(|helper| helper.number != number) {
            return ended;
        }
        match said {
            HelperSaid::Report(Report::Ready { notes }) => {
                for note in notes {
                    out.info(format!("commands: {note}"));
                }
                if let Some(helper) = &mut self.helper {
                    helper.is_ready = true;
                }
            }
            HelperSaid::Report(Report::Failed(why)) => self.gone(&why, out),
            HelperSaid::Report(Report::Exited { id, status, pid, signal }) => {
                if self.asked.remove(&id) {
                    let result = status.map_or(CommandResult::Killed { pid, signal }, CommandResult::Exited);
                    ended.push((id, Some(result)));
                }
            }
            HelperSaid::Report(Report::Ended { id, timed_out }) => {
                self.running.remove(&id);
                self.serving.remove(&id);
                if timed_out {
                    self.counts.timed_out += 1;
                    out.warn(format!(
                        "a command took longer than {} s and was killed",
                        self.settings.time_limit.as_secs()
                    ));
                }
            }
            HelperSaid::Report(Report::NotStarted { id, reason }) => {
                self.serving.remove(&id);
                if self.running.remove(&id).is_some() {
                    self.counts.run -= 1;
                    self.counts.lost += 1;
                }
                out.warn(format!("a command did not start: {reason}"));
            }
            HelperSaid::GotConnection { id } => {
                self.counts.connections += u64::from(self.serving.contains(&id));
            }
            HelperSaid::Gone(why) => self.gone(why.as_deref().unwrap_or("it ended"), out),
            HelperSaid::NotStarted(why) => {
                self.helper = None;
                self.pause(&why, out);
            }
        }
        self.go_on(out);
        ended.extend(self.forget_unanswered());
        ended
    }

    /// Commands in `asked` that no longer run or wait.
    fn forget_unanswered(&mut self) -> Ended {
        let Self { asked, running, waiting, .. } = self;
        let is_gone = |id: &u64| !running.contains_key(id) && waiting.iter().all(|order| order.id != *id);
        asked.extract_if(|id| is_gone(id)).map(|id| (id, None)).collect()
    }

    /// Checks on the helper, and reports the commands that were not run.
    pub(in crate::core) fn second(&mut self, out: &mut Outbox) -> Ended {
        let now = out.now.at;
        let too_long = self.settings.time_limit + PATIENCE;
        let passed = |since: &Instant| now.saturating_duration_since(*since);
        let is_stuck = self.running.values().any(|since| passed(since) > too_long)
            || self
                .helper
                .as_ref()
                .is_some_and(|helper| !helper.is_ready && passed(&helper.since) > PATIENCE);
        if is_stuck {
            self.gone("it does not answer", out);
        }
        self.give_way(out);
        self.go_on(out);
        let report_at = *self.report_at.get_or_insert(now + self.settings.report_every);
        if now >= report_at {
            self.report_suppressed(out);
        }
        self.forget_unanswered()
    }

    /// Reports the commands that were not run since the last report.
    fn report_suppressed(&mut self, out: &mut Outbox) {
        self.report_at = Some(out.now.at + self.settings.report_every);
        let suppressed = self.limits.report();
        let mut sources: Vec<_> = suppressed.by_source.into_iter().collect();
        sources.sort_by_key(|(network, count)| (std::cmp::Reverse(*count), *network));
        for (network, count) in sources.iter().take(MAX_LINES) {
            out.warn(format!(
                "commands not run because of [effects] limits: {} more from {network}",
                grouped(*count)
            ));
        }
        let rest = sources.iter().skip(MAX_LINES);
        let more = rest.len();
        let others = rest.map(|(_, count)| count).sum::<u64>() + suppressed.others;
        if others > 0 {
            let networks = if suppressed.others > 0 { "more than " } else { "" };
            out.warn(format!(
                "commands not run because of [effects] limits: {} more from {networks}{} other networks",
                grouped(others),
                grouped(more as u64)
            ));
        }
    }

    /// Ends the helper and the commands it runs.
    pub(in crate::core) fn stop(&mut self, out: &mut Outbox) {
        self.report_suppressed(out);
        self.counts.lost += self.waiting.drain(..).count() as u64;
        if self.helper.take().is_some() {
            out.act(Action::Helper(HelperAction::End));
        }
    }

    /// Hands waiting commands to the helper, up to the limit.
    fn go_on(&mut self, out: &mut Outbox) {
        let may_start = self.start_at.is_none_or(|at| out.now.at >= at);
        if self.helper.is_none() && !self.waiting.is_empty() && may_start {
            self.start(out);
        }
        while self.running.len() - self.serving.len() < self.settings.at_once as usize
            && self.helper.is_some()
            && let Some(order) = self.waiting.pop_front()
        {
            self.running.insert(order.id, out.now.at);
            self.counts.run += 1;
            out.act(Action::Helper(HelperAction::Run(order)));
        }
    }

    fn start(&mut self, out: &mut Outbox) {
        self.helpers += 1;
        self.helper = Some(RunningHelper { number: self.helpers, since: out.now.at, is_ready: false });
        out.act(Action::Helper(HelperAction::Start(self.helpers)));
    }

    /// The helper is gone, or does not answer.
    fn gone(&mut self, why: &str, out: &mut Outbox) {
        if let Some(helper) = self.helper.take() {
            if helper.is_ready && out.now.at.saturating_duration_since(helper.since) > PAUSES[1] {
                self.pause = PAUSES[0];
            }
            out.act(Action::Helper(HelperAction::End));
        }
        self.pause(why, out);
    }

    fn pause(&mut self, why: &str, out: &mut Outbox) {
        let lost = self.running.drain().count() as u64;
        self.serving.clear();
        // They were started; their results are not known.
        self.counts.run -= lost;
        self.counts.lost += lost;
        self.start_at = Some(out.now.at + self.pause);
        out.error(format!(
            "the helper that runs commands is gone ({why}): {lost} commands with it; it is started again in {} s, enforcement goes on",
            self.pause.as_secs()
        ));
        self.pause = (self.pause * 2).min(PAUSES[1]);
    }

    /// How many things are held: commands.
    pub(in crate::core) fn footprint(&self) -> [crate::core::footprint::FootprintEntry; 4] {
        [
            ("commands that wait", self.waiting.len()),
            ("commands that run", self.running.len()),
            ("commands that were asked for", self.asked.len()),
            ("connections that are served", self.serving.len()),
        ]
    }

    pub(in crate::core) fn counters(&self) -> [(Metric, u64); 5] {
        let CommandCounts { run, suppressed, lost, timed_out, connections } = self.counts;
        [
            (
                Metric::counter(
                    "redirected_served",
                    "connections",
                    "Redirected connections that the helper got.",
                ),
                connections,
            ),
            (Metric::counter("commands_run", "commands", "Commands that the helper got."), run),
            (
                Metric::counter(
                    "commands_suppressed",
                    "commands",
                    "Commands that were not run because of a limit.",
                ),
                suppressed,
            ),
            (
                Metric::counter(
                    "commands_lost",
                    "commands",
                    "Commands that were not run, or whose end is not known, because the helper was gone.",
                ),
                lost,
            ),
            (
                Metric::counter(
                    "commands_timed_out",
                    "commands",
                    "Commands that were ended because they took too long.",
                ),
                timed_out,
            ),
        ]
    }
}

/// The marks of an outcome: what the kernel has to do for a client beside allowing or refusing it.
pub(in crate::core) fn marks(judgement: &Judgement) -> u8 {
    let is_refused = judgement.verdict == Verdict::Refuse;
    let mark = |effect: &Effect| match effect.action {
        EffectAction::Twist { .. } | EffectAction::Banner(_) if is_refused => REDIRECT,
        EffectAction::Banner(_) => BANNER,
        EffectAction::Spawn(_) => REPORT,
        EffectAction::Keepalive => KEEPALIVE,
        EffectAction::Aclexec { .. }
        | EffectAction::Twist { .. }
        | EffectAction::Severity(_)
        | EffectAction::Linger(_)
        | EffectAction::Rfc931 { .. }
        | EffectAction::Setenv { .. }
        | EffectAction::Nice(_)
        | EffectAction::Umask(_)
        | EffectAction::User(_)
        | EffectAction::Group(_) => 0,
    };
    judgement.effects.iter().map(mark).fold(0, |all, mark| all | mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::tests::now, effects::Surroundings};

    fn command() -> Command {
        Command { text: b"true".as_slice().into(), surroundings: Surroundings::default() }
    }

    /// Commands that run or wait.
    fn taken(commands: &HelperCommands) -> usize {
        commands.running.len() + commands.waiting.len()
    }

    #[test]
    fn sources_that_may_be_forged_take_half_of_what_may_run() {
        let settings = Settings { at_once: 4, per_minute_and_source: 60, ..Settings::default() };
        let mut commands = HelperCommands::new(settings, now().at);
        let mut out = Outbox::new(now());
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        for _forged in 0..10 {
            commands.run((source, false), &command(), &mut out);
        }
        assert_eq!((taken(&commands), commands.counts.suppressed), (2, 8));
        for _proven in 0..10 {
            commands.run((source, true), &command(), &mut out);
        }
        assert_eq!((taken(&commands), commands.counts.suppressed), (12, 8));
    }

    #[test]
    fn sources_that_may_be_forged_take_half_of_a_network_s_budget() {
        let settings = Settings { at_once: 64, per_minute_and_source: 12, ..Settings::default() };
        let mut commands = HelperCommands::new(settings, now().at);
        let mut out = Outbox::new(now());
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        for _forged in 0..20 {
            commands.run((source, false), &command(), &mut out);
        }
        assert_eq!((taken(&commands), commands.counts.suppressed), (7, 13));
        assert!(commands.ask(source, &command(), &mut out).is_some());
    }
}
