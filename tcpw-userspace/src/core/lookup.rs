//! The facts an attempt may need, and a [`Lookup`] that answers from those already known.
//!
//! In: facts of an attempt. Out: a [`Lookup`] that never blocks, and the first question it could not answer.
//! Invariant: no I/O.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::facts::AttemptFacts;
pub(super) use crate::resolve::Question;
use crate::{
    evaluate::request::{Banner, CommandResult, HostName, Lookup, Purpose},
    parse::rule::Text,
    resolve::{Found, KnownAccounts},
};

/// A fact without which the evaluator's verdict is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MissingFact {
    /// A look-up.
    LookUp(Question),
    /// How a command of `aclexec` ends.
    Command(Text),
    /// A banner file, by its directory and daemon.
    Banner((PathBuf, Vec<u8>)),
}

/// The evaluator needed the client's user, which is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserWanted {
    /// Time limit of the look-up, in seconds.
    pub(super) timeout_s: u32,
    /// With the user taken as unknown, another fact was missing as well.
    pub(super) is_open: bool,
}

/// The evaluator's [`Lookup`].
pub(super) struct FactLookup<'a> {
    facts: &'a AttemptFacts,
    accounts: &'a KnownAccounts,
    client: IpAddr,
    server: IpAddr,
    missing: RefCell<Option<MissingFact>>,
    user: Cell<Option<UserWanted>>,
}

impl<'a> FactLookup<'a> {
    pub(super) fn new(
        facts: &'a AttemptFacts,
        [client, server]: [IpAddr; 2],
        accounts: &'a KnownAccounts,
    ) -> Self {
        Self { facts, accounts, client, server, missing: RefCell::new(None), user: Cell::new(None) }
    }

    /// The user, if it was the first missing fact. The verdict is then for an unknown user.
    pub(super) fn user_wanted(&self) -> Option<UserWanted> {
        self.user.get()
    }

    /// The first missing fact; if there is one, the evaluator's verdict is not valid.
    pub(super) fn missing(self) -> Option<MissingFact> {
        self.missing.into_inner()
    }

    fn name(&self, address: IpAddr) -> HostName {
        if let Some(name) = self.facts.name(address) {
            return name.clone();
        }
        self.miss(Question::name_of(address));
        HostName::Unknown
    }

    fn miss(&self, question: Question) {
        if self.facts.is_rest_unknown() {
            return;
        }
        self.want(MissingFact::LookUp(question));
    }

    fn want(&self, missing: MissingFact) {
        match self.user.get() {
            // Whether this is needed at all depends on the user.
            Some(user) => self.user.set(Some(UserWanted { is_open: true, ..user })),
            None => drop(self.missing.borrow_mut().get_or_insert(missing)),
        }
    }
}

impl Lookup for FactLookup<'_> {
    fn client_name(&self) -> HostName {
        self.name(self.client)
    }

    fn server_name(&self) -> HostName {
        self.name(self.server)
    }

    fn client_user(&self, timeout_s: u32) -> Option<Text> {
        if let Some(user) = self.facts.asked_user() {
            return user.clone();
        }
        if self.missing.borrow().is_none() {
            self.user.set(Some(UserWanted { timeout_s, is_open: false }));
        }
        None
    }

    fn in_netgroup(&self, group: &[u8], host: Option<&[u8]>, user: Option<&[u8]>) -> bool {
        // For a user pattern libwrap passes no host. Users are unknown, so it is no member.
        let (Some(host), None) = (host, user) else { return false };
        let question = Question::Netgroup { group: group.into(), host: host.into() };
        if let Some(Found::Member(is_member)) = self.facts.found(&question) {
            return *is_member;
        }
        self.miss(question);
        false
    }

    fn run(&self, purpose: Purpose, command: &[u8]) -> CommandResult {
        match (purpose, self.facts.command(command)) {
            (Purpose::Aclexec, Some(result)) => return result,
            (Purpose::Aclexec, None) => self.want(MissingFact::Command(command.into())),
            // `spawn` commands are run once the verdict is known.
            (Purpose::Spawn, _) => {}
        }
        CommandResult::Exited(0)
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        // While no client can get it, it only matters that there may be a banner.
        if !self.facts.shows_banners() {
            return Banner::Text(Vec::new());
        }
        if let Some(banner) = self.facts.banner(directory, daemon) {
            return banner.clone();
        }
        // Also with a fact about the user missing: a banner does not decide.
        self.missing.borrow_mut().get_or_insert(MissingFact::Banner((directory.to_owned(), daemon.to_vec())));
        Banner::Text(Vec::new())
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        self.accounts.user_exists(name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        self.accounts.group_exists(name)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::LazyLock,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        core::facts::Learnt,
        resolve::{CachedValue, Verified},
    };

    fn learnt(question: Question, kept: CachedValue<Found>) -> Learnt {
        Learnt { question, kept, took: None }
    }

    fn kept(value: Found, seconds: u64) -> CachedValue<Found> {
        let since = Instant::now();
        CachedValue { value, since, until: since + Duration::from_secs(seconds) }
    }

    fn ask(facts: &AttemptFacts, ends: [IpAddr; 2]) -> FactLookup<'_> {
        static NOBODY: LazyLock<KnownAccounts> = LazyLock::new(KnownAccounts::default);
        FactLookup::new(facts, ends, &NOBODY)
    }

    fn name(text: &str) -> Found {
        Found::Name(Verified { name: HostName::Known(text.as_bytes().into()), warning: None })
    }

    #[test]
    fn the_first_question_is_told_and_no_other() {
        let ends = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let mut facts = AttemptFacts::default();
        let answers = ask(&facts, ends);
        assert_eq!(answers.server_name(), HostName::Unknown);
        answers.client_name();
        let Some(MissingFact::LookUp(first)) = answers.missing() else { panic!("a look-up") };
        assert_eq!(first, Question::Name(ends[1]));
        facts.learn(learnt(first, kept(name("s.test"), 20)));
        let answers = ask(&facts, ends);
        assert_eq!(answers.server_name(), HostName::Known(b"s.test"[..].into()));
        assert!(!answers.in_netgroup(b"trusted", Some(b"s.test"), None));
        let Some(MissingFact::LookUp(second)) = answers.missing() else { panic!("a look-up") };
        let sooner = kept(Found::Member(true), 10);
        facts.learn(learnt(second, sooner.clone()));
        let answers = ask(&facts, ends);
        assert!(answers.in_netgroup(b"trusted", Some(b"s.test"), None));
        assert_eq!(answers.missing(), None);
        assert_eq!(facts.until(), Some(sooner.until), "the earliest counts");
    }

    #[test]
    fn user_is_wanted_once_the_questions_before_are_answered() {
        let ends = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let mut facts = AttemptFacts::default();
        let answers = ask(&facts, ends);
        answers.client_name();
        assert_eq!((answers.client_user(10), answers.user_wanted()), (None, None));
        let Some(MissingFact::LookUp(question)) = answers.missing() else { panic!("a look-up") };
        facts.learn(learnt(question, kept(name("c.test"), 20)));

        let answers = ask(&facts, ends);
        answers.client_name();
        answers.client_user(7);
        assert_eq!(answers.user_wanted(), Some(UserWanted { timeout_s: 7, is_open: false }));
        // Whether this is asked at all may depend on that name.
        answers.server_name();
        assert_eq!(answers.user_wanted(), Some(UserWanted { timeout_s: 7, is_open: true }));
        assert_eq!(answers.missing(), None);

        facts.learn_user(Some(b"root"[..].into()));
        let answers = ask(&facts, ends);
        assert_eq!(answers.client_user(7).as_deref(), Some(&b"root"[..]));
        assert_eq!(answers.user_wanted(), None);
    }

    #[test]
    fn command_behind_an_unknown_user_leaves_the_verdict_open() {
        let ends = ["::1".parse().unwrap(), "::1".parse().unwrap()];
        let mut facts = AttemptFacts::default();
        facts.end(b"first"[..].into(), CommandResult::Exited(0));
        let answers = ask(&facts, ends);
        answers.run(Purpose::Aclexec, b"first");
        answers.client_user(10);
        assert_eq!(answers.user_wanted().map(|user| user.is_open), Some(false), "it ran before");
        answers.run(Purpose::Aclexec, b"true");
        assert_eq!(answers.user_wanted().map(|user| user.is_open), Some(true));
    }

    #[test]
    fn one_address_at_both_ends_is_asked_for_once() {
        let ends = ["127.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        let mut facts = AttemptFacts::default();
        facts.learn(learnt(Question::Name(ends[0]), kept(name("localhost"), 1)));
        let answers = ask(&facts, ends);
        assert_eq!(answers.client_name(), answers.server_name());
        assert_eq!(answers.missing(), None);
    }

    #[test]
    fn where_nothing_is_looked_up_nothing_is_missing() {
        let facts = AttemptFacts::unknown();
        let answers = ask(&facts, ["::1".parse().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(answers.client_name(), HostName::Unknown);
        assert!(!answers.in_netgroup(b"g", Some(b"unknown"), None));
        assert_eq!(answers.missing(), None);
        assert_eq!(facts.until(), None);
    }
}
