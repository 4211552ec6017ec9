//! What an attempt can hang on, and the answers of one that has some of it.
//!
//! In: facts of an attempt. Out: a [`Lookup`] that never blocks, and the first thing it could not answer.
//! Invariant: nothing is asked of the world from here.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::facts::Facts;
pub(super) use crate::resolve::Question;
use crate::{
    evaluate::request::{Banner, CommandResult, HostName, Lookup, Purpose},
    parse::rule::Text,
    resolve::{Found, KnownAccounts},
};

/// What has to be known before the evaluator's verdict means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// A look-up.
    LookUp(Question),
    /// How a command of `aclexec` ends.
    Command(Text),
    /// A banner file, by its directory and daemon.
    Banner((PathBuf, Vec<u8>)),
}

/// The evaluator asked for the client's user, which nobody knows yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserWanted {
    /// Time limit of the look-up, in seconds.
    pub(super) timeout_s: u32,
    /// What it found with the user unknown hangs on something else that is not known either.
    pub(super) is_open: bool,
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
        if self.facts.is_rest_unknown() {
            return;
        }
        self.want(Missing::LookUp(question));
    }

    fn want(&self, missing: Missing) {
        match self.user.get() {
            // The user decides whether it has to be asked.
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
        if let Some(user) = self.facts.asked_user() {
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
        if let Some(Found::Member(is_member)) = self.facts.found(&question) {
            return *is_member;
        }
        self.miss(question);
        false
    }

    fn run(&self, purpose: Purpose, command: &[u8]) -> CommandResult {
        match (purpose, self.facts.command(command)) {
            (Purpose::Aclexec, Some(result)) => return result,
            (Purpose::Aclexec, None) => self.want(Missing::Command(command.into())),
            // They are run when the verdict is known.
            (Purpose::Spawn, _) => {}
        }
        CommandResult::Exited(0)
    }

    fn banner(&self, directory: &Path, daemon: &[u8]) -> Banner {
        // Without a connection it only counts that there may be one.
        if !self.facts.shows_banners() {
            return Banner::Text(Vec::new());
        }
        if let Some(banner) = self.facts.banner(directory, daemon) {
            return banner.clone();
        }
        // Whatever else is missing: a text does not decide, and there may be several.
        self.missing
            .borrow_mut()
            .get_or_insert(Missing::Banner((directory.to_owned(), daemon.to_vec())));
        Banner::Text(Vec::new())
    }

    fn user_exists(&self, name: &[u8]) -> bool {
        self.accounts.user_exists(name)
    }

    fn group_exists(&self, name: &[u8]) -> bool {
        self.accounts.group_exists(name)
    }
}
