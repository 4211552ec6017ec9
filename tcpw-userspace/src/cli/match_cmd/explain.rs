//! A question to its verdict, with everything that led there.
//!
//! Out: [`Explanation`], the same for people and as JSON.

use serde::Serialize;

use super::{
    answers::{HostLookup, TraceEvent, TraceObserver},
    ask::AskedConnection,
    options::{self, OptionLine},
    place::{QuotedPlace, TablesAndTexts},
    tell::Tell,
};
use crate::{
    cases,
    config::NAME_SERVER_PORTS,
    evaluate::{
        evaluate, evaluate_with,
        request::{AccessRequest, Judgement, Known, Lookup, Reason, Verdict},
    },
    parse::rule::{Tables, Text},
    resolve::Accounts,
};

/// The verdict on one question.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    /// `allow` or `deny`.
    pub(super) verdict: &'static str,
    /// As tcpdmatch says it: `granted`, `denied`, or `delegated` to another command.
    pub(super) access: &'static str,
    /// What decided: `rule`, `option`, `error`, `twist`, `exit`, `table-error` or `default`.
    pub(super) via: &'static str,
    /// The rule: `allow:LINE`, `deny:LINE` (libwrap's line number) or `none`.
    pub(super) matched: String,
    /// The client.
    pub(super) client: Party,
    /// The server's end.
    pub(super) server: Party,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<RuleLine>,
    /// Its options, in order.
    pub(super) options: Vec<OptionLine>,
    /// Priority of the log line, if options set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) severity: Option<String>,
    /// What had to be looked up.
    pub(super) lookups: Vec<LookUp>,
    /// Warnings and errors, in libwrap's words.
    pub(super) warnings: Vec<String>,
    /// What `tcpw run` makes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enforced: Option<Enforced>,
    /// The rules that were looked at and did not decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Vec<Missed>>,
}

/// One end.
#[derive(Debug, Serialize)]
pub(super) struct Party {
    /// Address, if known.
    pub(super) address: Option<String>,
    /// Name; null: nobody asked for it.
    pub(super) name: Option<String>,
    /// User, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// Port, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
}

/// A rule.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RuleLine {
    /// Where it begins, and its text.
    #[serde(flatten)]
    pub(super) place: QuotedPlace,
    /// The line number libwrap gives it.
    pub(super) number: u32,
    /// The token of its daemon list that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daemon: Option<QuotedPlace>,
    /// The token of its client list that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<QuotedPlace>,
}

/// A look-up.
#[derive(Debug, Serialize)]
pub(super) struct LookUp {
    /// `client name`, `server name`, `client user` or `netgroup NAME`.
    pub(super) what: String,
    /// Whether it was made; if not, the answer is an assumption.
    pub(super) made: bool,
    /// The answer.
    pub(super) answer: String,
    /// The token, or option, that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked_by: Option<QuotedPlace>,
}

/// What `tcpw run` makes of it today.
#[derive(Debug, Serialize)]
pub(super) struct Enforced {
    /// `allow` or `deny`.
    pub(super) verdict: &'static str,
    /// The rule.
    pub(super) matched: String,
}

/// A rule that did not decide.
#[derive(Debug, Serialize)]
pub(super) struct Missed {
    /// The rule.
    #[serde(flatten)]
    pub(super) rule: RuleLine,
    /// Which list did not match: `daemon` or `client`; none: it matched, its `aclexec` failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) list: Option<&'static str>,
    /// The token behind EXCEPT that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) except: Option<QuotedPlace>,
    /// What the list was held against.
    pub(super) compared: Compared,
    /// What keeps the rule from matching anybody, or this client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) because: Vec<String>,
}

/// What a list was held against, as far as it looks at it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Compared {
    /// The daemon's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daemon: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// Address of the server's end, or of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The client's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
}

/// Judges a question.
pub(super) fn explain(question: &AskedConnection, places: &TablesAndTexts, trace: bool) -> Explanation {
    let tables = &places.tables;
    let daemons = [Text::from(question.daemon.as_bytes())];
    let request = AccessRequest {
        daemons: &daemons,
        client_address: question.client.address.as_deref(),
        server_address: question.server.address.as_deref(),
        server_port: question.port,
        known: Known {
            client_name: question.client.name.as_ref(),
            server_name: question.server.name.as_ref(),
            client_user: question.user.as_deref().map(str::as_bytes),
        },
        ..AccessRequest::default()
    };
    let answers = HostLookup::new(question);
    let mut observer = TraceObserver::new(&answers.events, trace);
    let judgement = evaluate_with(tables, &request, &answers, &mut observer);
    let looked = observer.looked;
    let tell = Tell { question, places, request: &request, answers: &answers };
    let mut lookups = Vec::new();
    let mut missed = Vec::new();
    let mut rule = None;
    let events = answers.events.borrow().clone();
    for (at, event) in events.iter().enumerate() {
        match event {
            TraceEvent::Asked(asked) => lookups.push(tell.look_up(asked, &events[at..], judgement.rule)),
            TraceEvent::Missed(index, why) if trace => missed.extend(tell.missed(*index, why)),
            TraceEvent::Missed(..) => {}
            TraceEvent::Matched(index, daemon, client) => rule = tell.rule(*index, Some([*daemon, *client])),
        }
    }
    if question.port.is_none() {
        lookups.extend(tell.port_is_missing(looked));
    }
    let mut warnings = judgement.warnings.clone();
    warnings.extend(answers.warnings.take());
    Explanation {
        verdict: verdict(&judgement),
        access: match (judgement.reason, judgement.verdict) {
            (Reason::Twist, _) => "delegated",
            (_, Verdict::Allow) => "granted",
            (_, Verdict::Refuse) => "denied",
        },
        via: cases::via(judgement.reason),
        matched: cases::MatchedRule::of(tables, judgement.rule).to_string(),
        client: Party {
            user: question.user.clone(),
            ..tell.party(&question.client, answers.known_client(), |answers| answers.client_name())
        },
        server: Party {
            port: question.port,
            ..tell.party(&question.server, answers.known_server(), |answers| answers.server_name())
        },
        rule: rule.filter(|_| judgement.rule.is_some()),
        options: options::lines(places, &judgement),
        severity: judgement.severity.map(cases::priority),
        lookups,
        warnings,
        enforced: enforced(tables, &request, &judgement),
        trace: trace.then_some(missed),
    }
}

fn verdict(judgement: &Judgement) -> &'static str {
    match judgement.verdict {
        Verdict::Allow => "allow",
        Verdict::Refuse => "deny",
    }
}

/// The verdict of `tcpw run`, to which every name is unknown at the port of a name server, if it is
/// another.
fn enforced(tables: &Tables, request: &AccessRequest<'_>, judgement: &Judgement) -> Option<Enforced> {
    request.client_address?;
    request.server_port.filter(|port| NAME_SERVER_PORTS.contains(port))?;
    let known = Known { client_user: request.known.client_user, ..Known::default() };
    let ours = evaluate(tables, &AccessRequest { known, ..*request }, &Accounts);
    (ours.verdict != judgement.verdict).then(|| Enforced {
        verdict: verdict(&ours),
        matched: cases::MatchedRule::of(tables, ours.rule).to_string(),
    })
}
