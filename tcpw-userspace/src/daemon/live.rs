//! `tcpw match --live`: what the daemon would say to a client, names and all.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use tcpw_common::key::{Address, mapped};

use super::{
    Daemon,
    facts::Facts,
    judge,
    names::{Attempt, Purpose},
};
use crate::{
    cases,
    control::{LiveAnswer, LiveLookup, LiveQuestion, Reply, Response},
    evaluate::{
        quoted_bytes,
        request::{HostName, Judgement, Verdict},
    },
    events::{Decision, Fate},
    names::NamesSet,
    parse::rule::Origin,
    resolve::{Found, Kept, Question},
};

/// Somebody who waits for an answer.
pub(super) struct Live {
    reply: Reply,
    names: NamesSet,
    listener: Option<String>,
    is_exempt: bool,
}

impl Daemon {
    /// Judges a client as if it came; answers at once or after the look-ups.
    pub(super) fn ask_live(&mut self, question: &LiveQuestion, reply: Reply) {
        let port = question.port.or_else(|| question.daemon.parse().ok());
        let is_meant = |name: &[u8]| name.eq_ignore_ascii_case(question.daemon.as_bytes());
        let listeners = self.registry.all();
        let known = listeners.iter().map(|(_, known)| *known).find(|known| {
            let is_named = known.names.iter().any(|name| is_meant(name));
            port.is_none_or(|port| known.local.port() == port)
                && (is_named || question.daemon.parse::<u16>().is_ok())
        });
        let names = known.map_or_else(|| NamesSet::new([&question.daemon]), |known| known.names.clone());
        let bound = known.map(|known| known.local.ip()).filter(|ip| !ip.is_unspecified());
        let unspecified = match question.client {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let server_port = port.or_else(|| known.map(|known| known.local.port())).unwrap_or(0);
        let decision = Decision {
            fate: Fate::Held,
            time_ns: 0,
            netns: 0,
            names: names.id(),
            cookie: 0,
            pid: 0,
            ifindex: 0,
            client: address(question.client),
            server: address(question.server.or(bound).unwrap_or(unspecified)),
            client_port: 0,
            server_port,
            protocol: known.map_or(6, |known| known.protocol),
            socket_is_v6: known.is_some_and(|known| known.local.is_ipv6()),
            policy: 0,
            generation: 0,
        };
        let exempt = &self.config.exempt;
        let client = question.client.to_canonical();
        let live = Live {
            reply,
            listener: known.map(|known| format!("{}[{}] {}", known.ident, known.pid, known.local)),
            is_exempt: exempt.ports.contains(&server_port)
                || exempt.addresses.iter().any(|network| network.contains(&client)),
            names: names.clone(),
        };
        let is_open = !live.is_exempt && !self.is_unnamed(server_port);
        let facts = if is_open { Facts::default() } else { Facts::unknown() };
        self.pursue(Attempt { decision, names, facts, purpose: Purpose::Live(Box::new(live)) }, None);
    }

    /// Answers.
    pub(super) fn tell(&self, live: Live, decision: &Decision, facts: &Facts, judgement: &Judgement) {
        let Some(current) = self.policies.current.as_ref() else {
            live.reply.send(Response::Failed("no policy is in force".into()));
            return;
        };
        let rule = judgement.rule.and_then(|index| cases::rule(&current.rules.tables, index));
        let origin: Option<&Origin> = rule.map(|rule| &rule.origin).filter(|_| !live.is_exempt);
        let verdict = match judgement.verdict {
            _ if live.is_exempt => "allow",
            Verdict::Allow => "allow",
            Verdict::Refuse => "deny",
        };
        live.reply.send(Response::Match(Box::new(LiveAnswer {
            verdict: verdict.into(),
            via: if live.is_exempt { "exempt" } else { cases::via(judgement.reason) }.into(),
            matched: cases::Matched::of(&current.rules.tables, judgement.rule.filter(|_| !live.is_exempt))
                .to_string(),
            file: origin.map(|origin| origin.path.display().to_string()),
            line: origin.map(|origin| origin.line),
            client: judge::host_text(decision, facts, Some(judgement)),
            listener: live.listener,
            names: live.names.iter().map(|name| quoted_bytes(name)).collect(),
            generation: current.generation,
            lookups: facts.learnt().iter().map(look_up).collect(),
            gave_up: facts.gave_up(),
            unnamed: self.is_unnamed(decision.server_port),
        })));
    }
}

fn look_up((question, kept): &(Question, Kept<Found>)) -> LiveLookup {
    let what = match question {
        Question::Name(address) => format!("name of {address}"),
        Question::Netgroup { group, host } => {
            format!("netgroup {} of {}", quoted_bytes(group), quoted_bytes(host))
        }
    };
    let (answer, confirmation) = match &kept.value {
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
    let now = Instant::now();
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    LiveLookup {
        what,
        answer,
        confirmation,
        age_ms: milliseconds(now.saturating_duration_since(kept.since)),
        holds_ms: milliseconds(kept.until.saturating_duration_since(now)),
    }
}

fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
