//! Answers the evaluator's look-ups, and keeps a record of them and of the rules it looked at.

use std::{
    cell::{OnceCell, RefCell},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use super::ask::{AskedConnection, End};
use crate::{
    evaluate::{
        Miss, Observer, quoted_bytes,
        request::{Banner, HostName, Lookup, RuleIndex},
    },
    parse::{
        rule::{ClientPattern, DaemonPattern, Span, TableKind, Text},
        text::FileText,
    },
    resolve::{self, Accounts, SystemResolver, verified_name},
};

/// Something that happened on the way to the verdict.
#[derive(Clone, Debug)]
pub(super) enum TraceEvent {
    /// Something had to be looked up.
    Asked(LookupTrace),
    /// A rule did not match, or did not decide.
    Missed(RuleIndex, MissReason),
    /// A rule matched, by these tokens.
    Matched(RuleIndex, Span, Span),
}

/// A look-up.
#[derive(Clone, Debug)]
pub(super) struct LookupTrace {
    /// Of what.
    pub(super) what: LookupSubject,
    /// Whether it was made.
    pub(super) made: bool,
    /// What came of it.
    pub(super) answer: String,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupSubject {
    /// The name of the client.
    ClientName,
    /// The name of the server's end.
    ServerName,
    /// The user of the client.
    ClientUser,
    /// Membership of a netgroup.
    Netgroup(String),
}

/// Why a rule did not match.
#[derive(Clone, Debug)]
pub(super) enum MissReason {
    /// No token of the daemon list matches.
    Daemon,
    /// This token, behind EXCEPT, does.
    DaemonExcept(Span),
    /// No token of the client list matches.
    Client,
    /// This token, behind EXCEPT, does.
    ClientExcept(Span),
    /// It matched; its `aclexec` failed.
    Aclexec,
}

/// What this host answers. Commands are not run; they count as successful.
pub(super) struct HostLookup<'a> {
    question: &'a AskedConnection,
    client: OnceCell<HostName>,
    server: OnceCell<HostName>,
    /// What happened, in order.
    pub(super) events: RefCell<Vec<TraceEvent>>,
    /// What the resolver warned of.
    pub(super) warnings: RefCell<Vec<String>>,
}

impl<'a> HostLookup<'a> {
    pub(super) fn new(question: &'a AskedConnection) -> Self {
        Self {
            question,
            client: OnceCell::new(),
            server: OnceCell::new(),
            events: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The client's name, as far as it is known by now.
    pub(super) fn known_client(&self) -> Option<&HostName> {
        self.question.client.name.as_ref().or_else(|| self.client.get())
    }

    /// The server's name, likewise.
    pub(super) fn known_server(&self) -> Option<&HostName> {
        self.question.server.name.as_ref().or_else(|| self.server.get())
    }

    fn name_of(&self, end: &End, known: &OnceCell<HostName>, what: LookupSubject) -> HostName {
        let look_up = || {
            let ip = end.ip.filter(|_| end.resolve);
            let name = ip.map_or(HostName::Unknown, |ip| {
                let verified = verified_name(ip, &SystemResolver);
                self.warnings.borrow_mut().extend(verified.warning);
                verified.name
            });
            let answer = spelt(&name);
            self.events.borrow_mut().push(TraceEvent::Asked(LookupTrace {
                what,
                made: ip.is_some(),
                answer,
            }));
            name
        };
        known.get_or_init(look_up).clone()
    }
}

/// A name as libwrap spells it.
pub(super) fn spelt(name: &HostName) -> String {
    match name {
        HostName::Known(name) => quoted_bytes(name),
        HostName::Unknown => "unknown".into(),
        HostName::Paranoid => "paranoid".into(),
    }
}

impl Lookup for HostLookup<'_> {
    fn client_name(&self) -> HostName {
        self.name_of(&self.question.client, &self.client, LookupSubject::ClientName)
    }

    fn server_name(&self) -> HostName {
        self.name_of(&self.question.server, &self.server, LookupSubject::ServerName)
    }

    fn client_user(&self, _timeout_s: u32) -> Option<Text> {
        let asked = LookupTrace { what: LookupSubject::ClientUser, made: false, answer: "unknown".into() };
        self.events.borrow_mut().push(TraceEvent::Asked(asked));
        None
    }

    fn in_netgroup(&self, group: &[u8], host: Option<&[u8]>, user: Option<&[u8]>) -> bool {
        let is_member = resolve::in_netgroup(group, host, user);
        let answer = format!(
            "{} {} a member",
            quoted_bytes(host.unwrap_or(b"any host")),
            if is_member { "is" } else { "is not" }
        );
        let asked = LookupTrace { what: LookupSubject::Netgroup(quoted_bytes(group)), made: true, answer };
        self.events.borrow_mut().push(TraceEvent::Asked(asked));
        is_member
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        Accounts.user_exists(name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        Accounts.group_exists(name)
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        match crate::source::read_file(&directory.join(OsStr::from_bytes(daemon))) {
            FileText::Bytes(text) => return Banner::Text(text.to_vec()),
            FileText::Missing | FileText::Unreadable(_) => {}
        }
        match std::fs::metadata(directory) {
            Ok(_) => Banner::Missing,
            Err(error) => Banner::NoDirectory(crate::host::reason(&error)),
        }
    }
}

/// Writes down what the evaluator tells of the rules.
pub(super) struct TraceObserver<'a> {
    pub(super) events: &'a RefCell<Vec<TraceEvent>>,
    /// Every rule that does not match is told of; else only those that ask something.
    pub(super) trace: bool,
    /// How many rules of each table were looked at.
    pub(super) looked: [usize; 2],
}

impl<'a> TraceObserver<'a> {
    pub(super) fn new(events: &'a RefCell<Vec<TraceEvent>>, trace: bool) -> Self {
        Self { events, trace, looked: [0; 2] }
    }

    fn look(&mut self, rule: RuleIndex) {
        self.looked[usize::from(rule.table == TableKind::Deny)] = rule.index + 1;
    }
}

impl Observer for TraceObserver<'_> {
    fn missed(&mut self, rule: RuleIndex, why: Miss<'_>) {
        self.look(rule);
        let asked = matches!(self.events.borrow().last(), Some(TraceEvent::Asked(_)));
        if !self.trace && !asked {
            return;
        }
        let why = match why {
            Miss::Daemon => MissReason::Daemon,
            Miss::DaemonExcept(token) => MissReason::DaemonExcept(token.span),
            Miss::Client => MissReason::Client,
            Miss::ClientExcept(token) => MissReason::ClientExcept(token.span),
            Miss::Aclexec => MissReason::Aclexec,
        };
        self.events.borrow_mut().push(TraceEvent::Missed(rule, why));
    }

    fn matched(&mut self, rule: RuleIndex, daemon: &DaemonPattern, client: &ClientPattern) {
        self.look(rule);
        self.events.borrow_mut().push(TraceEvent::Matched(rule, daemon.span, client.span));
    }
}
