//! The evaluator's events, told with their places.

use std::cell::{Cell, RefCell};

use super::{
    answers::{HostLookup, LookupSubject, LookupTrace, MissReason, TraceEvent, spelt},
    ask::{AskedConnection, End},
    explain::{Compared, LookUp, Missed, Party, RuleLine},
    place::{QuotedPlace, TablesAndTexts},
};
use crate::{
    cases,
    evaluate::{
        Host, host_matches, quoted_bytes,
        request::{AccessRequest, HostName, Known, Lookup, RuleIndex},
    },
    parse::{
        rule::{ClientPattern, Daemon, DaemonPattern, HostPattern, Origin, Rule, Span, Table},
        tokens,
    },
};

/// How libwrap writes what is not known.
const UNKNOWN: &str = "unknown";

/// What the events of one question are told with.
pub(super) struct Tell<'a> {
    pub(super) question: &'a AskedConnection,
    pub(super) places: &'a TablesAndTexts,
    pub(super) request: &'a AccessRequest<'a>,
    pub(super) answers: &'a HostLookup<'a>,
}

impl Tell<'_> {
    /// An end; of a host that was given by its name, the name is shown as tcpdmatch does.
    pub(super) fn party(
        &self,
        end: &End,
        known: Option<&HostName>,
        ask: impl Fn(&HostLookup<'_>) -> HostName,
    ) -> Party {
        let name = known.cloned().or_else(|| end.resolve.then(|| ask(self.answers)));
        Party { address: end.address.clone(), name: name.as_ref().map(spelt), user: None, port: None }
    }

    pub(super) fn rule(&self, index: RuleIndex, tokens: Option<[Span; 2]>) -> Option<RuleLine> {
        let rule = cases::rule(&self.places.tables, index)?;
        let text = quoted_bytes(&rule.text());
        let place = |span: Span| self.places.at(&rule.place(span));
        Some(RuleLine {
            place: QuotedPlace { text, ..self.places.at(&rule.origin()) },
            number: rule.number,
            daemon: tokens.map(|[daemon, _]| place(daemon)),
            client: tokens.map(|[_, client]| place(client)),
        })
    }

    pub(super) fn missed(&self, index: RuleIndex, why: &MissReason) -> Option<Missed> {
        let rule = cases::rule(&self.places.tables, index)?;
        let (list, except) = match why {
            MissReason::Daemon => (Some("daemon"), None),
            MissReason::DaemonExcept(token) => (Some("daemon"), Some(token)),
            MissReason::Client => (Some("client"), None),
            MissReason::ClientExcept(token) => (Some("client"), Some(token)),
            MissReason::Aclexec => (None, None),
        };
        let compared = match why {
            MissReason::Daemon | MissReason::DaemonExcept(_) => self.daemon_compared(&rule),
            MissReason::Client | MissReason::ClientExcept(_) => self.client_compared(&rule),
            MissReason::Aclexec => Compared::default(),
        };
        let except = except.map(|token| self.places.at(&rule.place(*token)));
        let mut because = self.places.mistakes(&rule);
        if matches!(why, MissReason::Client) {
            because.extend(self.needs(&rule));
        }
        Some(Missed { rule: self.rule(index, None)?, list, except, compared, because })
    }

    /// What is not known, and the tokens of the client list that need it.
    fn needs(&self, rule: &Rule) -> Vec<String> {
        let AskedConnection { client, user, .. } = self.question;
        let mut needs = Vec::new();
        let is_unnamed = client.name.is_none() && !client.resolve;
        let by_name =
            tokens(&rule.clients).find(|token| self.asks(&LookupSubject::ClientName, &token.host, true));
        if let Some(token) = by_name.filter(|_| is_unnamed) {
            let text = self.places.at(&rule.place(token.span)).text;
            needs.push(format!(
                "\"{text}\" needs the client's name, which was not looked up (--resolve does)"
            ));
        }
        let by_user = tokens(&rule.clients).find(|token| token.user.is_some());
        if let Some(token) = by_user.filter(|_| user.is_none()) {
            let text = self.places.at(&rule.place(token.span)).text;
            needs.push(format!(
                "\"{text}\" needs the client's user, which was not asked for (USER@ gives one)"
            ));
        }
        needs
    }

    /// What a daemon list was held against.
    fn daemon_compared(&self, rule: &Rule) -> Compared {
        let AskedConnection { daemon, port, server, .. } = self.question;
        let names_server = tokens(&rule.daemons).any(|token| token.server.is_some());
        Compared {
            daemon: Some(daemon.clone()),
            port: *port,
            address: names_server.then(|| address_of(server)),
            name: self.answers.known_server().filter(|_| names_server).map(spelt),
            user: None,
        }
    }

    /// What a client list was held against.
    fn client_compared(&self, rule: &Rule) -> Compared {
        let AskedConnection { client, user, .. } = self.question;
        let names_name =
            tokens(&rule.clients).any(|token| self.asks(&LookupSubject::ClientName, &token.host, true));
        let names_user = tokens(&rule.clients).any(|token| token.user.is_some());
        Compared {
            address: Some(address_of(client)),
            name: self.answers.known_client().filter(|_| names_name).map(spelt),
            user: names_user.then(|| user.clone().unwrap_or_else(|| UNKNOWN.into())),
            ..Compared::default()
        }
    }

    /// The first port in the rules that were looked at, so many of each table, if there is one.
    pub(super) fn port_is_missing(&self, looked: [usize; 2]) -> Option<LookUp> {
        let tables = &self.places.tables;
        let is_port = |token: &&DaemonPattern| matches!(token.daemon, Daemon::Port(_));
        let first = |(table, count): (&Table, usize)| {
            let mut rules = table.rules.entries_in(0..count.min(table.rules.len()));
            let index = rules.position(|rule| tokens(rule.daemons()).any(|token| is_port(&token)))?;
            let rule = table.rules.get(index)?;
            tokens(&rule.daemons).find(is_port).map(|token| rule.place(token.span))
        };
        let asked_by = [&tables.allow, &tables.deny].into_iter().zip(looked).find_map(first)?;
        let asked_by = Some(self.places.at(&asked_by));
        Some(LookUp { what: "server port".into(), made: false, answer: UNKNOWN.into(), asked_by })
    }

    /// A look-up; `events` begins with it.
    pub(super) fn look_up(
        &self,
        asked: &LookupTrace,
        events: &[TraceEvent],
        decided: Option<RuleIndex>,
    ) -> LookUp {
        // The rule that is looked at is told of afterwards; options are, after the rule.
        let next = events.iter().find_map(|event| match event {
            TraceEvent::Missed(rule, _) | TraceEvent::Matched(rule, ..) => Some(*rule),
            TraceEvent::Asked(_) => None,
        });
        let token = next.and_then(|index| self.asker(&asked.what, index));
        let asked_by = token
            .map(|origin| self.places.at(&origin))
            .or_else(|| Some(self.rule(next.or(decided)?, None)?.place));
        let what = match &asked.what {
            LookupSubject::ClientName => "client name".into(),
            LookupSubject::ServerName => "server name".into(),
            LookupSubject::ClientUser => "client user".into(),
            LookupSubject::Netgroup(name) => format!("netgroup {name}"),
        };
        LookUp { what, made: asked.made, answer: asked.answer.clone(), asked_by }
    }

    /// The token of a rule that makes it ask.
    fn asker(&self, what: &LookupSubject, index: RuleIndex) -> Option<Origin> {
        let rule = cases::rule(&self.places.tables, index)?;
        let daemon = |token: &&DaemonPattern| {
            token.server.as_ref().is_some_and(|pattern| self.asks(what, pattern, false))
        };
        let client = |token: &&ClientPattern| match what {
            LookupSubject::ClientUser => token.user.is_some(),
            LookupSubject::ClientName | LookupSubject::ServerName | LookupSubject::Netgroup(_) => {
                self.asks(what, &token.host, true)
            }
        };
        let by_daemon = tokens(&rule.daemons).find(daemon).map(|token| token.span);
        let by_client = || tokens(&rule.clients).find(client).map(|token| token.span);
        by_daemon.or_else(by_client).map(|span| rule.place(span))
    }

    /// Whether a pattern, held against the client or the server, asks for that.
    fn asks(&self, what: &LookupSubject, pattern: &HostPattern, is_client: bool) -> bool {
        let probe = Probe::default();
        let request = AccessRequest { known: Known::default(), ..*self.request };
        let end = if is_client { Host::client(&request, &probe) } else { Host::server(&request, &probe) };
        host_matches(pattern, &end, &self.places.tables.files, &mut |_, _| {});
        match what {
            LookupSubject::ClientName => is_client && probe.name.get(),
            LookupSubject::ServerName => !is_client && probe.name.get(),
            LookupSubject::Netgroup(name) => probe.netgroup.borrow().as_deref() == Some(name),
            LookupSubject::ClientUser => false,
        }
    }
}

fn address_of(end: &End) -> String {
    end.address.clone().unwrap_or_else(|| UNKNOWN.into())
}

/// Notes whether it is asked.
#[derive(Default)]
struct Probe {
    name: Cell<bool>,
    netgroup: RefCell<Option<String>>,
}

impl Lookup for Probe {
    fn client_name(&self) -> HostName {
        self.name.set(true);
        HostName::Unknown
    }

    fn server_name(&self) -> HostName {
        self.client_name()
    }

    fn in_netgroup(&self, group: &[u8], _: Option<&[u8]>, _: Option<&[u8]>) -> bool {
        *self.netgroup.borrow_mut() = Some(quoted_bytes(group));
        false
    }

    fn user_exists(&self, _: &[u8]) -> bool {
        true
    }

    fn group_exists(&self, _: &[u8]) -> bool {
        true
    }
}
