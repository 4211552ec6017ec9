//! What the evaluator says of an attempt, by everything the daemon was told.
//!
//! In: the rules of each generation, the answers of look-ups and when they were given. Out: every verdict
//! that was possible at a moment; more than one only where the daemon may have believed more than one thing.
//! Invariant: the reference evaluator itself decides, by a walk over every rule.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
};

use tcpw_common::key::{FlowKey, NamesId};

use super::random::chance_of;
use crate::{
    compile::Names,
    config::Resolve,
    core::policies::Rules,
    evaluate::{
        self, numeric_host,
        request::{AccessRequest, Banner, CommandResult, HostName, Lookup, Purpose, Verdict},
    },
    events,
    names::NamesSet,
    parse::rule::Text,
    resolve::{Found, Question},
};

/// An answer is believed for this much longer than it holds, in nanoseconds: the attempt waited for more
/// than one, and the kernel's answer outlives it.
const LONGER_NS: u64 = 20_000_000_000;

/// What the daemon believes, and the rules it decides by.
#[derive(Debug)]
pub(super) struct Oracle {
    settings: Resolve,
    policies: BTreeMap<u32, (Rules, Names)>,
    names: BTreeMap<NamesId, NamesSet>,
    told: HashMap<Question, Vec<(u64, Found)>>,
    /// When names may have been unknown last: a look-up took too long, or too many waited.
    unknown_until_ns: u64,
    /// The result of some command was not known where a connection hung on it.
    pub(super) is_command_open: bool,
    is_audit: bool,
}

/// An attempt to be judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct JudgedAttempt<'a> {
    pub(super) flow: &'a FlowKey,
    pub(super) names: NamesId,
    pub(super) pid: u32,
    pub(super) generation: u32,
    /// When its first packet came: what was found since is believed for it, however long it waits, and it keeps its
    /// verdict when its SYN is sent again.
    pub(super) began_ns: u64,
    /// What the user may be.
    pub(super) users: &'a [Option<&'a str>],
}

impl Oracle {
    pub(super) fn new(settings: &Resolve, is_audit: bool) -> Self {
        Self {
            settings: settings.clone(),
            policies: BTreeMap::new(),
            names: BTreeMap::from([(0, NamesSet::default())]),
            told: HashMap::new(),
            unknown_until_ns: 0,
            is_command_open: false,
            is_audit,
        }
    }

    /// A policy was compiled.
    pub(super) fn learn_policy(&mut self, generation: u32, rules: &Rules, looked_up: Names) {
        self.policies.insert(generation, (rules.clone(), looked_up));
    }

    /// Names that an id stands for.
    pub(super) fn learn_names(&mut self, names: &NamesSet) {
        self.names.entry(names.id()).or_insert_with(|| names.clone());
    }

    /// The names of an id.
    pub(super) fn names_of(&self, id: NamesId) -> Option<&NamesSet> {
        self.names.get(&id)
    }

    /// The rules of a generation.
    pub(super) fn rules_of(&self, generation: u32) -> Option<&Rules> {
        self.policies.get(&generation).map(|(rules, _)| rules)
    }

    /// Whether the user is asked for under a generation.
    pub(super) fn asks_for_users(&self, generation: u32) -> bool {
        self.policies.get(&generation).is_some_and(|(_, looked_up)| *looked_up == Names::LookedUp)
    }

    /// The daemon was told an answer.
    pub(super) fn tell(&mut self, question: &Question, found: &Found, now_ns: u64) {
        self.told.entry(question.clone()).or_default().push((now_ns, found.clone()));
    }

    /// The daemon gave a look-up up.
    pub(super) fn gave_up(&mut self, now_ns: u64) {
        let holds = nanoseconds(self.settings.not_found_for.max(self.settings.time_limit));
        self.unknown_until_ns = self.unknown_until_ns.max(now_ns + holds + LONGER_NS);
    }

    /// Whether a name may be taken for unknown.
    fn may_be_unknown(&self, case: &JudgedAttempt<'_>) -> bool {
        case.began_ns < self.unknown_until_ns
    }

    /// Every verdict that is possible; `truth` is what a look-up would say now. `None` if the rules or the
    /// names are not known.
    pub(super) fn verdicts(
        &self,
        case: &JudgedAttempt<'_>,
        truth: &dyn Fn(&Question) -> Found,
    ) -> Option<BTreeSet<Verdict>> {
        let (rules, _) = self.policies.get(&case.generation)?;
        let names = self.names.get(&case.names)?;
        let [client, server] = [case.flow.client, case.flow.server].map(|address| events::ip(&address));
        let [client_text, server_text] = [client, server].map(numeric_host);
        let mut all = BTreeSet::new();
        let mut taken = Vec::new();
        loop {
            let believed = Believed {
                oracle: self,
                case,
                truth,
                ends: [client, server],
                choices: RefCell::new(Choices { taken, at: 0 }),
            };
            let evaluate = |names: Vec<Text>| {
                let request = AccessRequest {
                    daemons: &names,
                    client_address: Some(&client_text),
                    server_address: Some(&server_text),
                    client_port: Some(case.flow.client_port),
                    server_port: Some(case.flow.server_port),
                    pid: case.pid,
                    ..AccessRequest::default()
                };
                evaluate::evaluate(rules.tables(), &request, &believed)
            };
            let judged = evaluate::decide_by_names(names, evaluate, |judged| Some(judged.verdict));
            all.insert(judged.decided().verdict);
            taken = believed.choices.into_inner().taken;
            // The next combination.
            loop {
                match taken.pop() {
                    None => return Some(all),
                    Some((choice, of)) if choice + 1 < of => {
                        taken.push((choice + 1, of));
                        break;
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// What the daemon may believe of a question.
    fn believed(
        &self,
        question: &Question,
        case: &JudgedAttempt<'_>,
        truth: &dyn Fn(&Question) -> Found,
    ) -> Vec<Found> {
        let holds = |found: &Found| {
            let holds =
                if found.is_something() { self.settings.found_for } else { self.settings.not_found_for };
            nanoseconds(holds) + LONGER_NS
        };
        let told = self.told.get(question).into_iter().flatten();
        let mut all: Vec<Found> = Vec::new();
        for (_, found) in told.filter(|(at, found)| case.began_ns < at + holds(found)) {
            if !all.contains(found) {
                all.push(found.clone());
            }
        }
        if all.is_empty() {
            all.push(truth(question));
        }
        all
    }
}

/// Which answers were chosen, of how many.
struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
}

/// The evaluator's look-ups, each with one of the answers that are possible.
struct Believed<'a> {
    oracle: &'a Oracle,
    case: &'a JudgedAttempt<'a>,
    truth: &'a dyn Fn(&Question) -> Found,
    ends: [IpAddr; 2],
    choices: RefCell<Choices>,
}

impl Believed<'_> {
    fn choose<T: Clone>(&self, from: &[T]) -> Option<T> {
        let mut choices = self.choices.borrow_mut();
        let at = choices.at;
        choices.at += 1;
        if choices.taken.len() <= at {
            choices.taken.push((0, from.len().max(1)));
        }
        from.get(choices.taken[at].0).cloned()
    }

    fn is_unnamed(&self) -> bool {
        self.oracle.settings.name_server_ports.contains(&self.case.flow.server_port)
    }

    fn name(&self, address: IpAddr) -> HostName {
        if self.is_unnamed() {
            return HostName::Unknown;
        }
        let question = Question::name_of(address);
        let all = self.oracle.believed(&question, self.case, self.truth);
        let mut names: Vec<HostName> = all
            .into_iter()
            .map(|found| match found {
                Found::Name(verified) => verified.name,
                Found::Member(_) => HostName::Unknown,
            })
            .collect();
        if self.oracle.may_be_unknown(self.case) && !names.contains(&HostName::Unknown) {
            names.push(HostName::Unknown);
        }
        self.choose(&names).unwrap_or(HostName::Unknown)
    }
}

impl Lookup for Believed<'_> {
    fn client_name(&self) -> HostName {
        self.name(self.ends[0])
    }

    fn server_name(&self) -> HostName {
        self.name(self.ends[1])
    }

    fn client_user(&self, _timeout_s: u32) -> Option<Text> {
        if self.is_unnamed() {
            return None;
        }
        self.choose(self.case.users).flatten().map(|user| user.as_bytes().into())
    }

    fn in_netgroup(&self, group: &[u8], host: Option<&[u8]>, user: Option<&[u8]>) -> bool {
        let (Some(host), None, false) = (host, user, self.is_unnamed()) else { return false };
        let question = Question::Netgroup { group: group.into(), host: host.into() };
        let mut all: Vec<bool> = self
            .oracle
            .believed(&question, self.case, self.truth)
            .into_iter()
            .map(|found| found == Found::Member(true))
            .collect();
        if self.oracle.may_be_unknown(self.case) && !all.contains(&false) {
            all.push(false);
        }
        self.choose(&all).unwrap_or(false)
    }

    fn run(&self, purpose: Purpose, command: &[u8]) -> CommandResult {
        if purpose == Purpose::Spawn || self.oracle.is_audit {
            return CommandResult::Exited(0);
        }
        let result = result_of(command);
        if !self.oracle.is_command_open {
            return result;
        }
        let either = [CommandResult::Exited(0), CommandResult::Exited(1)];
        self.choose(&either).unwrap_or(result)
    }

    fn banner(&self, _directory: &Path, _daemon: &[u8]) -> Banner {
        Banner::Text(Vec::new())
    }

    fn user_exists(&self, _name: &[u8]) -> bool {
        false
    }

    fn group_exists(&self, _name: &[u8]) -> bool {
        false
    }
}

/// How a command ends, always.
pub(super) fn result_of(command: &[u8]) -> CommandResult {
    let text: Vec<u64> = command.iter().map(|byte| u64::from(*byte)).collect();
    match chance_of(7, &text).below(5) {
        0..3 => CommandResult::Exited(0),
        3 => CommandResult::Exited(1),
        _ => CommandResult::Killed { pid: 7, signal: 9 },
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
