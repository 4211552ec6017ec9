//! What a duty hands on: actions for outside, steps for other duties.
//!
//! In: actions and steps, in order. Out: the same. Invariant: steps are taken in the order they were handed
//! on, after the duty that handed them on is done.

use std::{collections::VecDeque, time::Duration};

use super::facts::Facts;
use super::{
    action::{Action, Level, Write},
    attempt::Attempt,
    input::Now,
    lookup::{Question, UserWanted},
};
use crate::{
    evaluate::request::Judgement,
    events::{Decision, Fate},
    names::NamesSet,
    parse::rule::Text,
};

/// One duty's message to another.
pub(super) enum Step {
    /// Judge an attempt, as far as what is known of it goes.
    Judge(Box<Attempt>),
    /// It hangs on a look-up.
    LookUp(Box<Attempt>, Question),
    /// It hangs on how a command ends.
    RunCommand(Box<Attempt>, Text, Box<Judgement>),
    /// It hangs on a banner file, for its text.
    ReadBanner(Box<Attempt>, (std::path::PathBuf, Vec<u8>)),
    /// It hangs on its client's user; the judgement is that of an unknown one.
    AskUser(Box<Attempt>, Box<Judgement>, UserWanted),
    /// It has its verdict; if the user is wanted, that of an unknown one.
    Decided(Box<Attempt>, Box<Judgement>, Option<UserWanted>),
    /// It is over.
    Finish(Box<Finished>),
    /// The rules it hangs on are not known any more.
    Abandoned(Box<Attempt>),
    /// A policy came into force.
    PolicyInForce,
    /// Listeners were tagged; after a look at everything if `is_all`.
    ListenersTagged {
        /// Everything was looked at.
        is_all: bool,
        /// When that began.
        began: std::time::Instant,
    },
    /// Some listener is not known: look at everything soon.
    LookAtAll,
    /// A listener of this process is not known: look at it.
    LookAt(u32),
    /// Names are wanted that the policy in force does not know.
    PrepareAgain,
}

/// An attempt that is over: its record, its line and its commands follow.
pub(super) struct Finished {
    pub(super) fate: Fate,
    pub(super) decision: Decision,
    pub(super) names: NamesSet,
    pub(super) judgement: Option<Judgement>,
    pub(super) facts: Facts,
    /// The command that got the connection.
    pub(super) twist: Option<Text>,
    /// How long it was held, if it was.
    pub(super) held_for: Option<Duration>,
}

/// What is handed on.
pub(super) struct Outbox {
    pub(super) now: Now,
    pub(super) actions: Vec<Action>,
    pub(super) steps: VecDeque<Step>,
}

impl Outbox {
    pub(super) fn new(now: Now) -> Self {
        Self { now, actions: Vec::new(), steps: VecDeque::new() }
    }

    /// Has something done.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Writes to the kernel's tables.
    pub(super) fn write(&mut self, write: Write) {
        self.actions.push(Action::Write(write));
    }

    /// Hands something to another duty.
    pub(super) fn step(&mut self, step: Step) {
        self.steps.push_back(step);
    }

    /// Tells the operator of a defect or a failure.
    pub(super) fn error(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Error, text.into()));
    }

    /// Tells the operator of something to see to.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Warn, text.into()));
    }

    /// Tells the operator something.
    pub(super) fn info(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Info, text.into()));
    }

    /// For those who look for a defect.
    pub(super) fn debug(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Debug, text.into()));
    }
}
