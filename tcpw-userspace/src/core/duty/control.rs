//! Requests at the control socket.
//!
//! In: requests, and the facts they need. Out: exactly one reply to each.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tcpw_common::key::Query;

use crate::{
    cases,
    control::{LiveAnswer, LiveLookup, LiveQuestion, Response},
    core::{
        action::Action,
        attempt::{Attempt, VerdictPurpose},
        facts::{AttemptFacts, Learnt},
        judge,
        outbox::{Outbox, Step},
        shared::{SharedState, TCP},
    },
    evaluate::{
        quoted_bytes,
        request::{HostName, Judgement, Verdict},
    },
    events::address,
    events::{Decision, Fate},
    names::NamesSet,
    parse::rule::Origin,
    resolve::{Found, Question},
};

/// A request for a verdict that has no reply yet.
#[derive(Clone, Debug)]
pub(in crate::core) struct Live {
    request: u64,
    names: NamesSet,
    listener: Option<String>,
    is_exempt: bool,
}

/// Answers requests; it has no state.
#[derive(Default)]
pub(in crate::core) struct Control;

impl Control {
    /// Judges a client as if it connected; replies at once or after the look-ups.
    pub(in crate::core) fn judge(
        &mut self,
        request: u64,
        question: &LiveQuestion,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let port = question.port.or_else(|| question.daemon.parse().ok());
        let is_meant = |name: &[u8]| name.eq_ignore_ascii_case(question.daemon.as_bytes());
        let listeners = shared.inventory.sorted();
        let find = |is_meant: &dyn Fn(&NamesSet) -> bool| {
            listeners.iter().map(|(_, known)| *known).find(|known| {
                port.is_none_or(|port| known.local.port() == port)
                    && (is_meant(&known.names) || question.daemon.parse::<u16>().is_ok())
            })
        };
        let has = |names: &NamesSet| names.iter().any(|name| is_meant(name));
        // A listener that only claims the name comes last.
        let known = find(&|names| has(&names.proven())).or_else(|| find(&has));
        let names = known.map_or_else(|| NamesSet::new([&question.daemon]), |known| known.names.clone());
        let bound = known.map(|known| known.local.ip()).filter(|ip| !ip.is_unspecified());
        let unspecified = match question.client {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let server_port = port.or_else(|| known.map(|known| known.local.port())).unwrap_or(0);
        let decision = Decision {
            fate: Fate::Held,
            time_ns: out.now.boot_ns,
            netns: 0,
            names: names.id(),
            cookie: 0,
            pid: 0,
            ifindex: 0,
            client: address(question.client),
            server: address(question.server.or(bound).unwrap_or(unspecified)),
            client_port: 0,
            server_port,
            protocol: known.map_or(TCP, |known| known.protocol),
            socket_is_v6: known.is_some_and(|known| known.local.is_ipv6()),
            policy: 0,
            generation: 0,
        };
        let exempt = &shared.config.exempt;
        let client = question.client.to_canonical();
        let live = Live {
            request,
            listener: known.map(|known| format!("{}[{}] {}", known.ident, known.pid, known.local)),
            is_exempt: exempt.ports.contains(&server_port)
                || exempt.addresses.iter().any(|network| network.contains(&client)),
            names: names.clone(),
        };
        let is_open = !live.is_exempt && !shared.is_unnamed(server_port);
        let facts = if is_open { AttemptFacts::default() } else { AttemptFacts::unknown() };
        let purpose = VerdictPurpose::Live(Box::new(live));
        out.step(Step::Judge(Box::new(Attempt {
            decision,
            names,
            facts,
            purpose,
            number: None,
            is_proven: false,
        })));
    }

    /// A requested verdict is known.
    pub(in crate::core) fn decided(
        &self,
        attempt: &Attempt,
        judgement: &Judgement,
        shared: &SharedState,
        out: &mut Outbox,
    ) {
        let VerdictPurpose::Live(live) = &attempt.purpose else { return };
        let Some(current) = shared.policies.current.as_ref() else { return no_policy(live, out) };
        let tables = current.rules.tables();
        let Attempt { decision, facts, .. } = attempt;
        let rule = judgement.rule.and_then(|index| cases::rule(tables, index));
        let origin: Option<Origin> = rule.map(|rule| rule.origin()).filter(|_| !live.is_exempt);
        let verdict = match judgement.verdict {
            _ if live.is_exempt => "allow",
            Verdict::Allow => "allow",
            Verdict::Refuse => "deny",
        };
        // What the files refuse is refused already.
        let is_bannable = !live.is_exempt && judgement.verdict == Verdict::Allow;
        let ban = shared.ban_of(decision, &live.names).filter(|_| is_bannable);
        let (origin, rule) = if ban.is_some() { (None, None) } else { (origin, judgement.rule) };
        let now = out.now.at;
        let via = match &ban {
            Some(_) => "ban",
            None if live.is_exempt => "exempt",
            None => cases::via(judgement.reason),
        };
        let answer = LiveAnswer {
            verdict: if ban.is_some() { "deny" } else { verdict }.into(),
            via: via.into(),
            matched: cases::MatchedRule::of(tables, rule.filter(|_| !live.is_exempt)).to_string(),
            ban: ban.map(|ban| ban.to_string()),
            file: origin.as_ref().map(|origin| origin.path.display().to_string()),
            line: origin.map(|origin| origin.line),
            client: judge::host_text(decision, facts, Some(judgement)),
            listener: live.listener.clone(),
            names: live.names.iter().map(|name| quoted_bytes(name)).collect(),
            generation: current.generation,
            lookups: facts.learnt().iter().map(|learnt| look_up(learnt, now)).collect(),
            gave_up: facts.gave_up(),
            unnamed: shared.is_unnamed(decision.server_port),
            kernel: None,
            kernel_not_asked: None,
        };
        // The kernel has policies of the names that listeners have.
        let query = live.listener.as_ref().ok_or("no known listener has that name").map(|_| Query {
            names: decision.names,
            client: decision.client,
            server: decision.server,
            port: decision.server_port,
        });
        let (request, query) = (live.request, query.map_err(Into::into));
        out.act(Action::ReplyMatch { request, answer: Box::new(answer), query });
    }

    /// A request for a verdict cannot be answered.
    pub(in crate::core) fn abandoned(&self, attempt: &Attempt, out: &mut Outbox) {
        if let VerdictPurpose::Live(live) = &attempt.purpose {
            no_policy(live, out);
        }
    }
}

/// Answers a request.
pub(in crate::core) fn reply(request: u64, response: Response, out: &mut Outbox) {
    out.act(Action::Reply { request, response: Box::new(response) });
}

fn no_policy(live: &Live, out: &mut Outbox) {
    reply(live.request, Response::Failed("no policy is in force".into()), out);
}

fn look_up(learnt: &Learnt, now: Instant) -> LiveLookup {
    let what = match &learnt.question {
        Question::Name(address) => format!("name of {address}"),
        Question::Netgroup { group, host } => {
            format!("netgroup {} of {}", quoted_bytes(group), quoted_bytes(host))
        }
    };
    let (answer, confirmation) = match &learnt.kept.value {
        Found::Name(verified) => match &verified.name {
            HostName::Known(name) => (quoted_bytes(name), Some("leads back to the address".into())),
            HostName::Unknown => ("unknown".into(), None),
            HostName::Paranoid => {
                let warning = verified.warning.as_deref().unwrap_or("it does not lead back");
                ("paranoid".into(), Some(warning.trim_start_matches("warning: ").to_owned()))
            }
        },
        Found::Member(true) => ("member".into(), None),
        Found::Member(false) => ("no member".into(), None),
    };
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    LiveLookup {
        what,
        answer,
        confirmation,
        age_ms: milliseconds(now.saturating_duration_since(learnt.kept.since)),
        holds_ms: milliseconds(learnt.kept.until.saturating_duration_since(now)),
    }
}
