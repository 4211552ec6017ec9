//! The output of a duty: actions for the outside, steps for other duties.
//!
//! In: actions and steps, in order. Out: the same. Invariant: steps are handled in the order they were added,
//! after the duty that added them has returned.

use std::{collections::VecDeque, time::Duration};

use super::facts::AttemptFacts;
use super::{
    action::{Action, Level, Write},
    attempt::Attempt,
    duty::reload::TextsInForce,
    input::{Now, ReadTexts},
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
    /// Judge an attempt with the facts known so far.
    Judge(Box<Attempt>),
    /// It waits until its client answers a challenge.
    Challenge(Box<Attempt>),
    /// It waits for a look-up.
    LookUp(Box<Attempt>, Question),
    /// It waits for the result of a command.
    RunCommand(Box<Attempt>, Text, Box<Judgement>),
    /// It waits for a banner file.
    ReadBanner(Box<Attempt>, (std::path::PathBuf, Vec<u8>)),
    /// It waits for its client's user; the judgement is for an unknown user.
    AskUser(Box<Attempt>, Box<Judgement>, UserWanted),
    /// It has a verdict; if the user has to be asked for, that of an unknown user.
    Decided(Box<Attempt>, Box<Judgement>, Option<UserWanted>),
    /// Its record, line and commands are due.
    Finish(Box<Finished>),
    /// The rules it is to be judged by are no longer known.
    Abandoned(Box<Attempt>),
    /// A policy came into force.
    PolicyInForce,
    /// It is of these texts.
    TextsInForce(TextsInForce),
    /// The policy in force says the same as these texts.
    TextsAreInForce {
        /// Number of the preparation.
        number: u64,
        texts: std::sync::Arc<ReadTexts>,
    },
    /// Texts do not come into force: why.
    TextsNotTaken {
        /// Number of the preparation.
        number: u64,
        reason: String,
    },
    /// What was kept of texts that are not confirmed does not hold.
    KeepRolledBack,
    /// Listeners were tagged; all of them, if `is_all`.
    ListenersTagged {
        /// They come from a full scan.
        is_all: bool,
        /// When the scan began.
        began: std::time::Instant,
    },
    /// A listener is not known: make a full scan soon.
    LookAtAll,
    /// A listener of this process is not known: scan the process.
    LookAt(u32),
    /// The policy in force does not know some names.
    PrepareAgain,
}

/// A decided attempt: its record, its line and its commands follow.
pub(super) struct Finished {
    pub(super) fate: Fate,
    pub(super) decision: Decision,
    pub(super) names: NamesSet,
    pub(super) judgement: Option<Judgement>,
    pub(super) facts: AttemptFacts,
    /// The command that got the connection.
    pub(super) twist: Option<Text>,
    /// How long it was held, if it was.
    pub(super) held_for: Option<Duration>,
    /// Its client has completed the handshake.
    pub(super) is_connected: bool,
}

/// Actions and steps.
pub(super) struct Outbox {
    pub(super) now: Now,
    pub(super) actions: Vec<Action>,
    pub(super) steps: VecDeque<Step>,
}

impl Outbox {
    pub(super) fn new(now: Now) -> Self {
        Self { now, actions: Vec::new(), steps: VecDeque::new() }
    }

    /// Adds an action.
    pub(super) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Writes to the kernel's tables.
    pub(super) fn write(&mut self, write: Write) {
        self.actions.push(Action::Write(write));
    }

    /// Adds a step for another duty.
    pub(super) fn step(&mut self, step: Step) {
        self.steps.push_back(step);
    }

    /// Logs a failure for the operator.
    pub(super) fn error(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Error, text.into()));
    }

    /// Logs something the operator should look into.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Warn, text.into()));
    }

    /// Logs something worth knowing.
    pub(super) fn info(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Info, text.into()));
    }

    /// Logs for debugging.
    pub(super) fn debug(&mut self, text: impl Into<String>) {
        self.actions.push(Action::Say(Level::Debug, text.into()));
    }
}
