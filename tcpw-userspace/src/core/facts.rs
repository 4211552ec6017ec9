//! What was found out for one attempt.
//!
//! In: answers of look-ups, commands, users, banner files. Out: the same, to be judged with once more.
//! Invariant: a verdict is judged again only with the facts it was given with.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::lookup::{Question, UserWanted};
use crate::{
    evaluate::request::{Banner, CommandResult, HostName},
    parse::rule::Text,
    resolve::{Found, Kept},
};

/// One look-up's answer.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    pub(super) question: Question,
    pub(super) kept: Kept<Found>,
    /// How long the look-up took; nothing if the answer was remembered.
    pub(super) took: Option<Duration>,
}

/// What was found out for one attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    learnt: Vec<Learnt>,
    /// Commands of `aclexec` and how they ended.
    ended: Vec<(Text, CommandResult)>,
    /// Banner files, by directory and daemon.
    banners: Vec<((PathBuf, Vec<u8>), Banner)>,
    /// What was not found out is unknown.
    is_rest_unknown: bool,
    /// It was not waited for any longer: until when that holds.
    gave_up_until: Option<Instant>,
    /// The client's user, once asked for; inside, `None` is unknown.
    user: Option<Option<Text>>,
    /// The user was asked for where there is none.
    in_vain: Option<UserWanted>,
    /// There is a connection: the client may be shown something.
    shows_banners: bool,
}

impl Facts {
    /// Those of attempts for which nothing is looked up.
    pub(super) fn unknown() -> Self {
        Self { is_rest_unknown: true, user: Some(None), ..Self::default() }
    }

    /// Banners are read: there is a client to see them.
    pub(super) fn show_banners(&mut self) {
        self.shows_banners = true;
    }

    /// Whether banners are read.
    pub(super) fn shows_banners(&self) -> bool {
        self.shows_banners
    }

    /// The text is made: nobody needs it once more.
    pub(super) fn hide_banners(&mut self) {
        self.shows_banners = false;
        self.banners.clear();
    }

    /// A banner file was read.
    pub(super) fn read(&mut self, file: (PathBuf, Vec<u8>), banner: Banner) {
        self.banners.push((file, banner));
    }

    /// What was read of a banner file.
    pub(super) fn banner(&self, directory: &Path, daemon: &[u8]) -> Option<&Banner> {
        let is_it = |(file, _): &&((PathBuf, Vec<u8>), Banner)| file.0 == directory && file.1 == daemon;
        self.banners.iter().find(is_it).map(|(_, banner)| banner)
    }

    /// Takes the client's user; `None` is unknown.
    pub(super) fn learn_user(&mut self, user: Option<Text>) {
        self.user = Some(user);
    }

    /// The answer to the question for the user; `None` if it was not asked.
    pub(super) fn asked_user(&self) -> Option<&Option<Text>> {
        self.user.as_ref()
    }

    /// The client's user, if it was looked up and is known.
    pub(super) fn user(&self) -> Option<&Text> {
        self.user.as_ref()?.as_ref()
    }

    /// The user was asked for, and there can be none: another protocol's answer may differ.
    pub(super) fn no_user_for(&mut self, user: UserWanted) {
        self.in_vain = Some(UserWanted { is_open: false, ..user });
    }

    /// The user that was asked for in vain.
    pub(super) fn in_vain(&self) -> Option<UserWanted> {
        self.in_vain
    }

    /// Whether every answer there can be is that nothing was looked up.
    pub(super) fn is_empty(&self) -> bool {
        self.learnt.is_empty() && self.gave_up_until.is_none()
    }

    /// Until when they hold; `None`: for ever.
    pub(super) fn until(&self) -> Option<Instant> {
        self.learnt.iter().map(|learnt| learnt.kept.until).chain(self.gave_up_until).min()
    }

    /// What was learnt, in the order it was asked for.
    pub(super) fn learnt(&self) -> &[Learnt] {
        &self.learnt
    }

    /// A command of `aclexec` has ended.
    pub(super) fn end(&mut self, command: Text, result: CommandResult) {
        self.ended.push((command, result));
    }

    /// How a command of `aclexec` ended.
    pub(super) fn command(&self, command: &[u8]) -> Option<CommandResult> {
        self.ended.iter().find(|(known, _)| **known == *command).map(|(_, result)| *result)
    }

    /// Whether a command had a say.
    pub(super) fn hang_on_a_command(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes an answer.
    pub(super) fn learn(&mut self, learnt: Learnt) {
        self.learnt.push(learnt);
    }

    /// What is still open is unknown.
    pub(super) fn give_up(&mut self, until: Instant) {
        self.is_rest_unknown = true;
        self.gave_up_until = Some(until);
    }

    /// Whether a question was given up.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up_until.is_some()
    }

    /// Whether what was not found out is unknown.
    pub(super) fn is_rest_unknown(&self) -> bool {
        self.is_rest_unknown
    }

    /// The name of an address, if it was looked up.
    pub(super) fn name(&self, address: IpAddr) -> Option<&HostName> {
        match self.found(&Question::name_of(address))? {
            Found::Name(verified) => Some(&verified.name),
            Found::Member(_) => None,
        }
    }

    /// What was found to a question.
    pub(super) fn found(&self, question: &Question) -> Option<&Found> {
        self.learnt.iter().find(|learnt| learnt.question == *question).map(|learnt| &learnt.kept.value)
    }
}
