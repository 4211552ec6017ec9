//! The rules that a history must not break, and what has to be remembered to see that.
//!
//! In: inputs, actions, and what the kernel did. Out: the first rule that was broken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tcpw_common::{
    held::Held,
    key::{AttemptKey, FlowKey},
    tag::{PROVISIONAL, Tag},
};

use super::{
    at_end, history::History, kernel::Decided, oracle::JudgedAttempt, plan::CLIENTS, random::chance_of,
};
use crate::{
    control::{LiveAnswer, Request},
    core::{
        Action, Input,
        action::{Level, TagOrder, Write},
        input::{KernelEvent, UserAnswer},
        policies::Rules,
    },
    evaluate::request::Verdict,
    events::Fate,
    parse::{rule::Tables, text::TextsHash},
    record::Record,
    resolve::Question,
};

pub(super) use at_end::at_the_end;

/// Users that there are.
const USERS: [Option<&str>; 3] = [None, Some("alice"), Some("bob")];

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tallies: BTreeMap<usize, Tally>,
    pub(super) requests: BTreeSet<u64>,
    asking: BTreeMap<(u64, u64), usize>,
    /// The rules that were parsed, how often the files had changed, and the hash of their texts.
    versions: Vec<(Rules, u64, TextsHash)>,
    /// A policy that is to be confirmed, until when.
    waits: Option<(u32, u64)>,
    /// Policies that were not confirmed.
    over: BTreeSet<u32>,
    /// Texts that were not confirmed, and have to be asked for; those of the policy before.
    rolled_back: Option<[Option<TextsHash>; 2]>,
    /// What the daemon is being told is that the files are to be put in force.
    is_asked: bool,
    version_in_force: u64,
    /// The generation in force, as far as the core knows.
    core_generation: u32,
    sockets: BTreeMap<u64, SocketHistory>,
    pub(super) connections: BTreeMap<u64, bool>,
    pub(super) is_fill_failed: bool,
    pub(super) has_ended: bool,
    counters: BTreeMap<&'static str, u64>,
}

/// What became of the connection of a socket.
#[derive(Clone, Copy, Debug, Default)]
struct SocketHistory {
    client: usize,
    asked: Option<Tag>,
    is_refused: bool,
    is_allowed: bool,
}

/// What was said of an attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Refusals that the daemon was told of, by the gate and by sk_lookup.
    pub(super) refused_heard: u64,
    pub(super) redirected_heard: u64,
    pub(super) arrivals: u64,
    /// Of daemons that ended: one may have recorded the connection, and the next one reads the report of it.
    redirected_before: u64,
    /// Refusals by the daemon.
    pub(super) user_refused: u64,
    pub(super) refused: u64,
    would_heard: u64,
    would: u64,
    accepted_heard: u64,
    user_allowed: u64,
    accepted: u64,
    /// Attempts whose packets were held.
    pub(super) held: BTreeMap<AttemptKey, HeldTally>,
    users: Vec<Option<&'static str>>,
}

/// How often an attempt was held and sent again.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldTally {
    /// What it was held for, and by which generation; of each daemon.
    reasons: BTreeSet<(u64, u32, u32)>,
    pub(super) sent: usize,
}

impl HeldTally {
    /// Under how many generations it was held.
    fn generations(&self) -> u64 {
        let generations: BTreeSet<u32> =
            self.reasons.iter().map(|(_daemon, _kind, generation)| *generation).collect();
        generations.len() as u64
    }
}

/// The flow of a held packet.
pub(super) fn flow_of(held: &Held) -> FlowKey {
    let event = &held.event;
    FlowKey {
        netns: event.netns,
        client: event.client,
        server: event.server,
        client_port: event.client_port,
        server_port: event.server_port,
        protocol: event.protocol,
        reserved: 0,
    }
}

/// A number that stands for a question.
pub(super) fn number_of(question: &Question) -> u64 {
    let text = format!("{question:?}");
    let bytes: Vec<u64> = text.bytes().map(u64::from).collect();
    chance_of(5, &bytes).next()
}

fn tally<'a>(history: &'a mut History, flow: &FlowKey) -> Option<&'a mut Tally> {
    let client = *history.by_flow.get(flow)?;
    Some(history.ledger.tallies.entry(client).or_default())
}

/// The core is about to be handed an input.
#[expect(clippy::wildcard_enum_match_arm, reason = "most have no rule of their own")]
pub(super) fn told(history: &mut History, input: &Input) {
    let number = history.daemon.as_ref().map_or(0, |daemon| daemon.number);
    let ledger = &mut history.ledger;
    ledger.is_asked = matches!(input, Input::Hangup | Input::Request { body: Request::Apply(_), .. });
    if ledger.is_asked {
        ledger.rolled_back = None;
    }
    match input {
        Input::Events(events) => events.iter().for_each(|event| {
            if let KernelEvent::Decided(decision) = event
                && let Some(tally) = tally(history, &decision.flow())
            {
                match decision.fate {
                    Fate::Refused => tally.refused_heard += 1,
                    Fate::WouldRefuse => tally.would_heard += 1,
                    Fate::Accepted => tally.accepted_heard += 1,
                    Fate::Redirected => tally.redirected_heard += 1,
                    Fate::Held => {}
                }
            }
        }),
        Input::Held(packets) => {
            for held in packets {
                let reason = (number, held.event.kind, held.event.generation);
                if let Some(tally) = tally(history, &flow_of(held)) {
                    tally.held.entry(attempt_of(held)).or_default().reasons.insert(reason);
                }
            }
        }
        Input::LookedUp { question, found: Some(found) } => {
            history.oracle.tell(question, found, history.now_ns)
        }
        Input::UserTold { number: question, answer } => {
            let Some(client) = history.ledger.asking.remove(&(number, *question)) else { return };
            let user = match answer {
                UserAnswer::Known(user) => {
                    USERS.into_iter().flatten().find(|known| known.as_bytes() == &**user)
                }
                UserAnswer::Unknown(_) | UserAnswer::Own | UserAnswer::NoNamespace(_) => None,
            };
            history.ledger.tallies.entry(client).or_default().users.push(user);
        }
        Input::Flipped { flipped: Ok(generation), .. } => history.ledger.core_generation = *generation,
        _without_a_rule => {}
    }
}

fn attempt_of(held: &Held) -> AttemptKey {
    AttemptKey { flow: flow_of(held), listener: held.event.cookie, isn: held.isn, reserved: 0 }
}

/// The core wants something done.
#[expect(clippy::wildcard_enum_match_arm, reason = "most have no rule of their own")]
pub(super) fn acts(history: &mut History, action: &Action) {
    match action {
        Action::Record(record) => records(history, record),
        Action::Release { packet: Some(packet), .. } => {
            let flow = flow_of(&packet.held);
            let held = tally(history, &flow).and_then(|tally| tally.held.get_mut(&attempt_of(&packet.held)));
            let Some(held) = held else {
                return broken(history, "what is sent again was held", &flow, "it was not");
            };
            held.sent += 1;
            if held.sent > held.reasons.len() {
                broken(history, "a held packet is sent again once for each reason", &flow, "once more");
            }
        }
        Action::Say(Level::Info, text) => {
            let generation = text.strip_prefix("applied generation ").and_then(|rest| rest.split(' ').next());
            if let Some(generation) = generation
                && generation.parse() != Ok(history.kernel.generation())
            {
                let in_force = history.kernel.generation();
                let what = format!("{text}, but {in_force} is in force");
                history.breaks("after `applied` only the new policy decides", None, what);
            }
        }
        Action::Say(Level::Error, text) if text.contains("please report this") => {
            history.breaks("the daemon finds no fault with itself", None, text.clone());
        }
        Action::Reply { request, .. }
        | Action::ReplyMatch { request, .. }
        | Action::ReplyRecent { request, .. }
            if !history.ledger.requests.remove(request) =>
        {
            history.breaks("a request is answered once", None, format!("request {request}"));
        }
        Action::AskUser { number, decision, .. } => {
            let Some(daemon) = history.daemon.as_ref().map(|daemon| daemon.number) else { return };
            if let Some(client) = history.by_flow.get(&decision.flow()) {
                history.ledger.asking.insert((daemon, *number), *client);
            }
        }
        Action::Destroy { waiting, .. } => {
            // Refused without a verdict: it could not wait.
            let refused = history.ledger.sockets.get_mut(&waiting.socket);
            if let Some(refused) = refused.filter(|socket| !socket.is_refused && !socket.is_allowed) {
                refused.is_refused = true;
                let client = refused.client;
                history.ledger.tallies.entry(client).or_default().user_refused += 1;
            }
        }
        _without_a_rule => {}
    }
}

fn broken(history: &mut History, rule: &'static str, flow: &FlowKey, what: &str) {
    let text = format!("{what}: client {} port {}", crate::events::ip(&flow.client), flow.client_port);
    history.breaks(rule, Some(flow.client_port), text);
}

fn records(history: &mut History, record: &Record) {
    let flow = FlowKey {
        netns: record.netns,
        client: crate::events::address(record.client.ip()),
        server: crate::events::address(record.server.ip()),
        client_port: record.client.port(),
        server_port: record.server.port(),
        protocol: record.protocol,
        reserved: 0,
    };
    let Some(tally) = tally(history, &flow) else {
        return broken(history, "a record is about an attempt", &flow, "there was none");
    };
    let (count, most) = match record.fate {
        Fate::Refused => {
            tally.refused += 1;
            (
                tally.refused,
                tally.refused_heard
                    + tally.user_refused
                    + tally.redirected_before
                    + tally.redirected_heard.max(tally.arrivals),
            )
        }
        Fate::WouldRefuse => {
            tally.would += 1;
            // A later policy judges the datagrams of an attempt anew.
            let by_generation = tally.held.values().map(HeldTally::generations);
            (tally.would, tally.would_heard + by_generation.sum::<u64>())
        }
        Fate::Accepted => {
            tally.accepted += 1;
            (tally.accepted, tally.accepted_heard + tally.user_allowed)
        }
        Fate::Held | Fate::Redirected => (1, 0),
    };
    if count > most {
        let what = format!("{:?}: {count} records, {most} reasons", record.fate);
        broken(history, "an attempt is recorded once", &flow, &what);
    }
    // The facts behind an answer may be forgotten if few are kept.
    if record.fate == Fate::Refused
        && history.plan.config.resolve.kept > 1
        && record.judged.as_ref().is_some_and(|judged| judged.verdict == Verdict::Allow)
    {
        broken(history, "a record says what happened", &flow, "refused, but judged to be allowed");
    }
}

/// The core is about to write to the kernel's tables.
#[expect(clippy::wildcard_enum_match_arm, reason = "most have no rule of their own")]
pub(super) fn writes(history: &mut History, write: &Write) {
    let (socket, is_allowed, mut tag) = match write {
        Write::RefuseWaiting(waiting) => (waiting.socket, false, waiting.pending.tag),
        Write::StopWaiting(socket) => (*socket, true, Tag::default()),
        _no_verdict => return,
    };
    let Some(known) = history.ledger.sockets.get_mut(&socket) else { return };
    if known.is_refused
        || known.is_allowed
        || history.kernel.waiting.get(&socket).is_some_and(|it| it.refused != 0)
    {
        return;
    }
    (known.is_refused, known.is_allowed) = (!is_allowed, is_allowed);
    if let Some(asked) = known.asked {
        tag = asked;
    }
    let client = known.client;
    let tally = history.ledger.tallies.entry(client).or_default();
    if is_allowed {
        tally.user_allowed += 1;
    } else {
        tally.user_refused += 1;
    }
    let mut users = tally.users.clone();
    if users.is_empty() || history.daemons > 1 {
        users.push(None);
    }
    let flow = history.clients[client].flow;
    let generation = history.ledger.core_generation;
    let case = JudgedAttempt {
        flow: &flow,
        names: tag.names,
        pid: tag.pid,
        generation,
        began_ns: began_ns(history, &flow),
        users: &users,
    };
    is_right(history, &case, is_allowed, "the daemon");
}

/// When an attempt began; a datagram is one by itself.
fn began_ns(history: &History, flow: &FlowKey) -> u64 {
    let client = history.by_flow.get(flow).map(|client| &history.clients[*client]);
    client.filter(|client| client.flow.protocol == 6).map_or(history.now_ns, |client| client.began_ns)
}

/// Holds a verdict against the evaluator's.
fn is_right(history: &mut History, case: &JudgedAttempt<'_>, is_allowed: bool, whose: &str) {
    let verdict = if is_allowed { Verdict::Allow } else { Verdict::Refuse };
    let host = &history.host;
    let possible = history.oracle.verdicts(case, &|question| host.truth(question));
    let flow = *case.flow;
    match possible {
        Some(possible) if possible.contains(&verdict) => {}
        Some(possible) => {
            let what = format!(
                "{whose} says {verdict:?} under generation {}, the evaluator {possible:?}, users {:?}",
                case.generation, case.users
            );
            broken(history, "a verdict is the evaluator's", &flow, &what);
        }
        None => {
            let what = format!("names {}, generation {}", case.names, case.generation);
            broken(history, "names and rules of a verdict are known", &flow, &what);
        }
    }
}

/// The kernel dealt with a packet.
pub(super) fn decided(history: &mut History) {
    for decided in std::mem::take(&mut history.kernel.decided) {
        let Decided { flow, names, generation, pid, is_allowed, is_user_unknown, is_exempt, .. } = decided;
        let ledger = &history.ledger;
        let is_late =
            ledger.waits.is_some_and(|(it, until_ns)| it == generation && history.now_ns >= until_ns);
        if is_late || ledger.over.contains(&generation) {
            broken(history, "a policy that is not confirmed ends at its deadline", &flow, "it decides");
        }
        if is_exempt {
            let exempt = &history.plan.config.exempt;
            let client = crate::events::ip(&flow.client);
            let is_so = exempt.ports.contains(&flow.server_port)
                || exempt.addresses.iter().any(|network| network.contains(&client));
            if !is_so {
                broken(history, "only what is exempt is not judged", &flow, "it is not exempt");
            }
            continue;
        }
        if is_user_unknown && !is_allowed {
            // What else the verdict hangs on is looked up once the user is known: until then it is a refusal.
            continue;
        }
        let is_open = !is_user_unknown && flow.protocol == 6 && history.oracle.asks_for_users(generation);
        let users: &[Option<&str>] = if is_open { &USERS } else { &USERS[..1] };
        for user in users {
            let users = [*user];
            let began_ns = began_ns(history, &flow);
            let case = JudgedAttempt { flow: &flow, names, pid, generation, began_ns, users: &users };
            is_right(history, &case, is_allowed, "the kernel");
        }
    }
}

/// A handshake is complete.
pub(super) fn connected(history: &mut History, client: usize, socket: u64) {
    if let Some(connection) = history.kernel.connections.get(&socket)
        && connection.mark.is_some()
    {
        let asked = connection.asked;
        history.ledger.sockets.insert(socket, SocketHistory { client, asked, ..SocketHistory::default() });
    }
}

/// Data of a connection passed.
pub(super) fn data_passed(
    history: &mut History,
    client: usize,
    socket: u64,
    by_deadline: Option<(Tag, u32)>,
) {
    let flow = history.clients[client].flow;
    if history.ledger.sockets.get(&socket).is_some_and(|socket| socket.is_refused) {
        broken(history, "no data of a refused connection pass", &flow, "they passed");
    }
    if let Some((tag, generation)) = by_deadline {
        let began_ns = began_ns(history, &flow);
        let case = JudgedAttempt {
            flow: &flow,
            names: tag.names,
            pid: tag.pid,
            generation,
            began_ns,
            users: &USERS[..1],
        };
        is_right(history, &case, true, "the deadline");
    }
}

/// Data of a connection were dropped.
pub(super) fn data_dropped(history: &mut History, client: usize, socket: u64) {
    if history.ledger.sockets.get(&socket).is_some_and(|socket| socket.is_allowed) {
        let flow = history.clients[client].flow;
        broken(history, "the data of an allowed connection pass", &flow, "they were dropped");
    }
}

/// A redirected connection reaches the daemon: its number.
pub(super) fn redirected_arrives(history: &mut History, client: usize) -> u64 {
    history.ledger.tallies.entry(client).or_default().arrivals += 1;
    let number = 1 + history.ledger.connections.len() as u64;
    history.ledger.connections.insert(number, false);
    number
}

/// The daemon has done something with a redirected connection.
pub(super) fn connection_done(history: &mut History, connection: u64) {
    match history.ledger.connections.insert(connection, true) {
        Some(false) => {}
        Some(true) | None => {
            let what = format!("connection {connection}");
            history.breaks("a redirected connection is served or ended once", None, what);
        }
    }
}

/// A tag is written.
pub(super) fn tags(history: &mut History, order: &TagOrder) {
    let name = history.oracle.names_of(order.tag.names);
    if name.is_none() || order.tag.flags & PROVISIONAL != 0 {
        let what = format!("socket {}, names {}", order.cookie, order.tag.names);
        history.breaks("a tag has names that a scan found", None, what);
    }
}

/// A request is asked.
pub(super) fn asked(history: &mut History, request: u64) {
    history.ledger.requests.insert(request);
}

/// A request for a verdict is answered: the daemon's verdict and the kernel's decision.
pub(super) fn answered(history: &mut History, answer: &LiveAnswer) {
    if answer.kernel.as_ref().is_some_and(|kernel| !kernel.agrees) {
        let what = format!("{answer:?}");
        history.breaks("the kernel decides as the daemon says", None, what);
    }
}

/// Texts were parsed that were read when the files had changed so often.
pub(super) fn parsed(history: &mut History, rules: &Rules, version: u64, hash: TextsHash) {
    let versions = &mut history.ledger.versions;
    match versions.iter_mut().find(|(known, ..)| Arc::ptr_eq(&known.indexed, &rules.indexed)) {
        Some((_, known, of)) => (*known, *of) = (version.max(*known), hash),
        None => versions.push((rules.clone(), version, hash)),
    }
}

/// How often the files had changed for a generation, and the hash of its texts.
fn version_of(history: &History, generation: u32) -> Option<(u64, TextsHash)> {
    let rules = history.oracle.rules_of(generation)?;
    let mut versions = history.ledger.versions.iter();
    let known = versions.find(|(known, ..)| Arc::ptr_eq(&known.indexed, &rules.indexed));
    known.map(|(_, version, hash)| (*version, *hash))
}

/// A policy came into force; until then it has to be confirmed.
pub(super) fn in_force(history: &mut History, generation: u32, until_ns: Option<u64>) {
    let Some((version, hash)) = version_of(history, generation) else { return };
    let before = std::mem::replace(&mut history.ledger.version_in_force, version);
    if version < before {
        let what = format!("generation {generation} is of texts {version}, those before were {before}");
        history.breaks("of two edits the later one counts", None, what);
    }
    match history.ledger.rolled_back {
        Some([Some(rolled_back), _]) if rolled_back == hash => {
            let what = format!("generation {generation} is of them");
            history.breaks("texts that were not confirmed do not come back by themselves", None, what);
        }
        Some([_, of_before]) if of_before != Some(hash) => history.ledger.rolled_back = None,
        Some(_) | None => {}
    }
    history.ledger.waits = until_ns.map(|until_ns| (generation, until_ns));
}

/// A policy is confirmed.
pub(super) fn confirmed(history: &mut History) {
    if history.ledger.waits.take().is_none() {
        history.breaks("what is confirmed waited for that", None, "nothing did".into());
    }
}

/// The policy before one that is not confirmed is in force again.
pub(super) fn fell_back(history: &mut History) {
    let in_force = history.kernel.generation();
    let of_before = version_of(history, in_force);
    if let Some((generation, _)) = history.ledger.waits.take() {
        let hash = version_of(history, generation).map(|(_, hash)| hash);
        let rolled_back = [hash, of_before.map(|(_, hash)| hash)];
        history.ledger.rolled_back = Some(rolled_back).filter(|_| !history.ledger.is_asked);
        history.ledger.over.insert(generation);
    }
    history.ledger.core_generation = in_force;
    history.ledger.version_in_force = of_before.map_or(0, |(version, _)| version);
}

/// Nothing is pinned any more: a policy that waited is over.
pub(super) fn unloaded(history: &mut History) {
    if history.ledger.waits.is_some() {
        fell_back(history);
    }
    history.ledger.version_in_force = 0;
    history.ledger.sockets.clear();
}

/// A slot could not be filled.
pub(super) fn failed_to_fill(history: &mut History) {
    history.ledger.is_fill_failed = true;
}

/// A command took too long.
pub(super) fn command_timed_out(history: &mut History) {
    history.oracle.is_command_open = true;
}

/// The gate was removed: nothing is refused any more.
pub(super) fn detached(history: &mut History) {
    history.ledger.sockets.clear();
}

/// The daemon ended: what it knew is lost.
pub(super) fn daemon_ended(history: &mut History) {
    let ledger = &mut history.ledger;
    ledger.has_ended = true;
    ledger.requests.clear();
    ledger.connections.values_mut().for_each(|is_done| *is_done = true);
    ledger.counters.clear();
    for tally in ledger.tallies.values_mut() {
        let redirected = std::mem::take(&mut tally.redirected_heard).max(std::mem::take(&mut tally.arrivals));
        tally.redirected_before += redirected;
    }
    // Its limits may have been exceeded just before.
    history.oracle.gave_up(history.now_ns);
    history.oracle.is_command_open = true;
}

/// What the core counted: whether it gave something up.
pub(super) fn look_at_core(history: &mut History) {
    let Some(daemon) = &history.daemon else { return };
    let counters = daemon.core.counters();
    let mut grown = Vec::new();
    for (metric, value) in counters {
        let name = metric.name;
        let before = history.ledger.counters.insert(name, value);
        if value > before.unwrap_or(0) {
            grown.push(name);
        }
    }
    for name in grown {
        match name {
            "names_given_up" | "names_limited" => history.oracle.gave_up(history.now_ns),
            "undecided_by_command" => history.oracle.is_command_open = true,
            "disagreements" | "index_disagreements" => {
                history.breaks("the daemon finds no fault with itself", None, name.to_owned());
            }
            _other => {}
        }
    }
}

/// What the core counted under a name.
pub(super) fn counted(history: &History, name: &str) -> u64 {
    history.ledger.counters.get(name).copied().unwrap_or_default()
}

/// The tables that are to be in force: those of the files, or of the copy on the disk.
pub(super) fn tables_to_be(history: &History) -> Option<Tables> {
    let texts = history.host.files.texts();
    let is_followed = history.plan.config.follow_files && history.disk.rolled_back != Some(texts.hash());
    if !is_followed {
        // Without one the files of the start are.
        return history.disk.confirmed().map(|copy| crate::parse::parse(copy).tables);
    }
    let is_missing = history.host.files.allow.is_none() || history.host.files.deny.is_none();
    let parsed = crate::parse::parse(&texts);
    let is_error =
        |it: &crate::parse::diagnostic::Diagnostic| it.severity == crate::parse::diagnostic::Severity::Error;
    (!is_missing && !parsed.diagnostics.iter().any(is_error)).then_some(parsed.tables)
}

/// A client, for a text.
pub(super) fn client_text(history: &History, client: usize) -> String {
    let known = &history.clients[client];
    format!("client {} port {}", CLIENTS[known.address], known.flow.client_port)
}
