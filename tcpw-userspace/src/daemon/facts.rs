//! What an attempt's names turned out to be: the evaluator's look-ups, answered from memory.
//!
//! In: answers of the resolver. Out: a [`Lookup`] that never blocks, and the first question it
//! could not answer.
//! Invariant: a verdict is judged again only with the names it was given with.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    path::Path,
    time::Instant,
};

use crate::{
    evaluate::request::{Banner, CommandResult, HostName, Lookup, Purpose},
    parse::rule::Text,
    redirect::read_banner,
    resolve::{Found, Kept, KnownAccounts, Question},
};

/// Answers for one attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    learnt: Vec<(Question, Kept<Found>)>,
    /// Commands of `aclexec` and how they ended.
    ended: Vec<(Text, CommandResult)>,
    /// What is not among them is unknown.
    is_unknown: bool,
    /// Nobody waited longer: until when that holds.
    gave_up_until: Option<Instant>,
    /// The client's user, once asked for; inside, `None` is unknown.
    user: Option<Option<Text>>,
    /// He was asked for where there is none.
    in_vain: Option<UserWanted>,
    /// There is a connection: the client may be shown something.
    shows_banners: bool,
}

impl Facts {
    /// Those of attempts for which nothing is looked up.
    pub(super) fn unknown() -> Self {
        Self { is_unknown: true, user: Some(None), ..Self::default() }
    }

    /// Banners are read: there is a client to see them.
    pub(super) fn show_banners(&mut self) {
        self.shows_banners = true;
    }

    /// Whether banners were read.
    pub(super) fn shows_banners(&self) -> bool {
        self.shows_banners
    }

    /// The text is made: nobody needs it once more.
    pub(super) fn hide_banners(&mut self) {
        self.shows_banners = false;
    }

    /// Takes the client's user; `None` is unknown.
    pub(super) fn learn_user(&mut self, user: Option<Text>) {
        self.user = Some(user);
    }

    /// The user was asked for, and there can be none: another protocol's answer may differ.
    pub(super) fn no_user_for(&mut self, user: UserWanted) {
        self.in_vain = Some(UserWanted { is_open: false, ..user });
    }

    /// Who was asked for in vain.
    pub(super) fn in_vain(&self) -> Option<UserWanted> {
        self.in_vain
    }

    /// The client's user, if it was looked up and is known.
    pub(super) fn user(&self) -> Option<&Text> {
        self.user.as_ref()?.as_ref()
    }

    /// Whether every answer there can be is that nothing was looked up.
    pub(super) fn is_empty(&self) -> bool {
        self.learnt.is_empty() && self.gave_up_until.is_none()
    }

    /// Until when they hold; `None`: for ever.
    pub(super) fn until(&self) -> Option<Instant> {
        self.learnt.iter().map(|(_, kept)| kept.until).chain(self.gave_up_until).min()
    }

    /// What was learnt, in the order it was asked for.
    pub(super) fn learnt(&self) -> &[(Question, Kept<Found>)] {
        &self.learnt
    }

    /// A command of `aclexec` has ended.
    pub(super) fn end(&mut self, command: Text, result: CommandResult) {
        self.ended.push((command, result));
    }

    /// Whether a command had a say.
    pub(super) fn hang_on_a_command(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes an answer.
    pub(super) fn learn(&mut self, question: Question, kept: Kept<Found>) {
        self.learnt.push((question, kept));
    }

    /// What is still open is unknown.
    pub(super) fn give_up(&mut self, until: Instant) {
        self.is_unknown = true;
        self.gave_up_until = Some(until);
    }

    /// Whether a question was given up.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up_until.is_some()
    }

    /// The name of an address, if it was looked up.
    pub(super) fn name(&self, address: IpAddr) -> Option<&HostName> {
        match self.find(&Question::name_of(address))? {
            Found::Name(verified) => Some(&verified.name),
            Found::Member(_) => None,
        }
    }

    fn find(&self, question: &Question) -> Option<&Found> {
        self.learnt.iter().find(|(asked, _)| asked == question).map(|(_, kept)| &kept.value)
    }
}

/// Answers the evaluator.
pub(super) struct Answers<'a> {
    facts: &'a Facts,
    accounts: &'a KnownAccounts,
    client: IpAddr,
    server: IpAddr,
    missing: RefCell<Option<Missing>>,
    user: Cell<Option<UserWanted>>,
}

/// What has to be known before the evaluator's verdict means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// A look-up.
    LookUp(Question),
    /// How a command of `aclexec` ends.
    Command(Text),
}

/// The evaluator asked for the client's user, which nobody knows yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserWanted {
    /// Time limit of the look-up, in seconds.
    pub(super) timeout_s: u32,
    /// What it found with the user unknown hangs on something else that is not known either.
    pub(super) is_open: bool,
}

impl<'a> Answers<'a> {
    pub(super) fn new(facts: &'a Facts, [client, server]: [IpAddr; 2], accounts: &'a KnownAccounts) -> Self {
        Self { facts, accounts, client, server, missing: RefCell::new(None), user: Cell::new(None) }
    }

    /// Whether the user is wanted, all questions before it being answered. The verdict is that of an
    /// unknown user.
    pub(super) fn user_wanted(&self) -> Option<UserWanted> {
        self.user.get()
    }

    /// The first question without an answer; the evaluator's verdict then means nothing.
    pub(super) fn missing(self) -> Option<Missing> {
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
        if self.facts.is_unknown {
            return;
        }
        self.want(Missing::LookUp(question));
    }

    fn want(&self, missing: Missing) {
        match self.user.get() {
            // Whether it has to be asked, the user decides.
            Some(user) => self.user.set(Some(UserWanted { is_open: true, ..user })),
            None => drop(self.missing.borrow_mut().get_or_insert(missing)),
        }
    }
}

impl Lookup for Answers<'_> {
    fn client_name(&self) -> HostName {
        self.name(self.client)
    }

    fn server_name(&self) -> HostName {
        self.name(self.server)
    }

    fn client_user(&self, timeout_s: u32) -> Option<Text> {
        if let Some(user) = &self.facts.user {
            return user.clone();
        }
        if self.missing.borrow().is_none() {
            self.user.set(Some(UserWanted { timeout_s, is_open: false }));
        }
        None
    }

    fn in_netgroup(&self, group: &[u8], host: Option<&[u8]>, user: Option<&[u8]>) -> bool {
        // A user's netgroup is asked for without a host: users are unknown.
        let (Some(host), None) = (host, user) else { return false };
        let question = Question::Netgroup { group: group.into(), host: host.into() };
        if let Some(Found::Member(is_member)) = self.facts.find(&question) {
            return *is_member;
        }
        self.miss(question);
        false
    }

    fn run(&self, purpose: Purpose, command: &[u8]) -> CommandResult {
        let ended = self.facts.ended.iter().find(|(known, _)| **known == *command);
        match (purpose, ended) {
            (Purpose::Aclexec, Some((_, result))) => return *result,
            (Purpose::Aclexec, None) => self.want(Missing::Command(command.into())),
            // They are run when the verdict is known.
            (Purpose::Spawn, _) => {}
        }
        CommandResult::Exited(0)
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        // Without a connection it only counts that there may be one.
        if self.facts.shows_banners { read_banner(directory, daemon) } else { Banner::Text(Vec::new()) }
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
    use std::{sync::LazyLock, time::Duration};

    use super::*;
    use crate::resolve::Verified;

    fn kept(value: Found, seconds: u64) -> Kept<Found> {
        let since = Instant::now();
        Kept { value, since, until: since + Duration::from_secs(seconds) }
    }

    fn ask(facts: &Facts, ends: [IpAddr; 2]) -> Answers<'_> {
        static NOBODY: LazyLock<KnownAccounts> = LazyLock::new(KnownAccounts::default);
        Answers::new(facts, ends, &NOBODY)
    }

    fn name(text: &str) -> Found {
        Found::Name(Verified { name: HostName::Known(text.as_bytes().into()), warning: None })
    }

    #[test]
    fn the_first_question_is_told_and_no_other() {
        let ends = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let mut facts = Facts::default();
        let answers = ask(&facts, ends);
        assert_eq!(answers.server_name(), HostName::Unknown);
        answers.client_name();
        let Some(Missing::LookUp(first)) = answers.missing() else { panic!("a look-up") };
        assert_eq!(first, Question::Name(ends[1]));
        facts.learn(first, kept(name("s.test"), 20));
        let answers = ask(&facts, ends);
        assert_eq!(answers.server_name(), HostName::Known(b"s.test"[..].into()));
        assert!(!answers.in_netgroup(b"trusted", Some(b"s.test"), None));
        let Some(Missing::LookUp(second)) = answers.missing() else { panic!("a look-up") };
        let sooner = kept(Found::Member(true), 10);
        facts.learn(second, sooner.clone());
        let answers = ask(&facts, ends);
        assert!(answers.in_netgroup(b"trusted", Some(b"s.test"), None));
        assert_eq!(answers.missing(), None);
        assert_eq!(facts.until(), Some(sooner.until), "the earliest counts");
    }

    #[test]
    fn user_is_wanted_once_the_questions_before_are_answered() {
        let ends = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let mut facts = Facts::default();
        let answers = ask(&facts, ends);
        answers.client_name();
        assert_eq!((answers.client_user(10), answers.user_wanted()), (None, None));
        let Some(Missing::LookUp(question)) = answers.missing() else { panic!("a look-up") };
        facts.learn(question, kept(name("c.test"), 20));

        let answers = ask(&facts, ends);
        answers.client_name();
        answers.client_user(7);
        assert_eq!(answers.user_wanted(), Some(UserWanted { timeout_s: 7, is_open: false }));
        // What he is may decide whether this is asked at all.
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
        let mut facts = Facts::default();
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
        let mut facts = Facts::default();
        facts.learn(Question::Name(ends[0]), kept(name("localhost"), 1));
        let answers = ask(&facts, ends);
        assert_eq!(answers.client_name(), answers.server_name());
        assert_eq!(answers.missing(), None);
    }

    #[test]
    fn where_nothing_is_looked_up_nothing_is_missing() {
        let facts = Facts::unknown();
        let answers = ask(&facts, ["::1".parse().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(answers.client_name(), HostName::Unknown);
        assert!(!answers.in_netgroup(b"g", Some(b"unknown"), None));
        assert_eq!(answers.missing(), None);
        assert_eq!(facts.until(), None);
    }
}
