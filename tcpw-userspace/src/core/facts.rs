//! The facts found for one attempt.
//!
//! In: results of look-ups, commands, user look-ups, banner files. Out: the same, to judge with again.
//! Invariant: a verdict is checked only with the facts it was made with.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::lookup::{Question, UserWanted};
use crate::{
    evaluate::request::{Banner, CommandResult, HostName},
    parse::rule::Text,
    resolve::{CachedValue, Found},
};

/// One look-up's answer.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    pub(super) question: Question,
    pub(super) kept: CachedValue<Found>,
    /// How long the look-up took; nothing if the answer was remembered.
    pub(super) took: Option<Duration>,
}

/// The facts found for one attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptFacts {
    learnt: Vec<Learnt>,
    /// Commands of `aclexec` and how they ended.
    ended: Vec<(Text, CommandResult)>,
    /// Banner files, by directory and daemon.
    banners: Vec<((PathBuf, Vec<u8>), Banner)>,
    /// Everything that is not known yet is taken as unknown.
    is_rest_unknown: bool,
    /// The time limit passed: until when that result holds.
    gave_up_until: Option<Instant>,
    /// The client's user, once the look-up is over; inside, `None` is unknown.
    user: Option<Option<Text>>,
    /// The user was needed, but cannot be asked for.
    in_vain: Option<UserWanted>,
    /// The client can get a banner.
    shows_banners: bool,
}

impl AttemptFacts {
    /// Facts of attempts for which nothing is looked up.
    pub(super) fn unknown() -> Self {
        Self { is_rest_unknown: true, user: Some(None), ..Self::default() }
    }

    /// From here on banner files are read: the client can get them.
    pub(super) fn show_banners(&mut self) {
        self.shows_banners = true;
    }

    /// Whether banner files are read.
    pub(super) fn shows_banners(&self) -> bool {
        self.shows_banners
    }

    /// The banner is made: drops the texts it was made from.
    pub(super) fn hide_banners(&mut self) {
        self.shows_banners = false;
        self.banners.clear();
    }

    /// A banner file was read.
    pub(super) fn read(&mut self, file: (PathBuf, Vec<u8>), banner: Banner) {
        self.banners.push((file, banner));
    }

    /// The content of a banner file.
    pub(super) fn banner(&self, directory: &Path, daemon: &[u8]) -> Option<&Banner> {
        let is_it = |(file, _): &&((PathBuf, Vec<u8>), Banner)| file.0 == directory && file.1 == daemon;
        self.banners.iter().find(is_it).map(|(_, banner)| banner)
    }

    /// Takes the client's user; `None` is unknown.
    pub(super) fn learn_user(&mut self, user: Option<Text>) {
        self.user = Some(user);
    }

    /// The result of the user look-up; `None` if there was none.
    pub(super) fn asked_user(&self) -> Option<&Option<Text>> {
        self.user.as_ref()
    }

    /// The client's user, if it was looked up and is known.
    pub(super) fn user(&self) -> Option<&Text> {
        self.user.as_ref()?.as_ref()
    }

    /// The user was needed, and this protocol has none: over another protocol the verdict may differ.
    pub(super) fn no_user_for(&mut self, user: UserWanted) {
        self.in_vain = Some(UserWanted { is_open: false, ..user });
    }

    /// The user that was needed but cannot be asked for.
    pub(super) fn in_vain(&self) -> Option<UserWanted> {
        self.in_vain
    }

    /// Whether no look-up was made or given up.
    pub(super) fn is_empty(&self) -> bool {
        self.learnt.is_empty() && self.gave_up_until.is_none()
    }

    /// Until when the facts hold; `None`: for ever.
    pub(super) fn until(&self) -> Option<Instant> {
        self.learnt.iter().map(|learnt| learnt.kept.until).chain(self.gave_up_until).min()
    }

    /// The results of look-ups, in the order the evaluator needed them.
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

    /// Whether a command's result is among the facts.
    pub(super) fn depend_on_a_command(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Adds the result of a look-up.
    pub(super) fn learn(&mut self, learnt: Learnt) {
        self.learnt.push(learnt);
    }

    /// Takes everything that is not known yet as unknown.
    pub(super) fn give_up(&mut self, until: Instant) {
        self.is_rest_unknown = true;
        self.gave_up_until = Some(until);
    }

    /// Whether the time limit passed.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up_until.is_some()
    }

    /// Whether everything that is not known yet is taken as unknown.
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

    /// The result of a look-up.
    pub(super) fn found(&self, question: &Question) -> Option<&Found> {
        self.learnt.iter().find(|learnt| learnt.question == *question).map(|learnt| &learnt.kept.value)
    }
}
