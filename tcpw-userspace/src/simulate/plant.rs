//! Bugs put in on purpose: does the simulation find them?
//!
//! In: what goes into the core, and what comes out. Out: the same, as a core with the bug would have it.

use std::{fmt, str::FromStr};

use crate::core::{Action, Input, action::Write};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// An answer is stored under the generation in force, not under that of the policy it was given by.
    WrongGeneration,
    /// Now and then a packet that was held is not sent again.
    LostRelease,
    /// An attempt that was held has its record twice.
    DoubleRecord,
    /// Texts that were read earlier come into force after later ones.
    OvertakingReload,
    /// The text of a handshake that did not come to its end is not taken back.
    LeakedEntry,
    /// A policy that is to be confirmed has no deadline in the kernel.
    LostDeadline,
    /// At a start it is not known which texts were not confirmed.
    ForgottenRollback,
}

impl Plant {
    /// Every bug.
    pub const ALL: [Self; 7] = [
        Self::WrongGeneration,
        Self::LostRelease,
        Self::DoubleRecord,
        Self::OvertakingReload,
        Self::LeakedEntry,
        Self::LostDeadline,
        Self::ForgottenRollback,
    ];
}

impl fmt::Display for Plant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::WrongGeneration => "wrong-generation",
            Self::LostRelease => "lost-release",
            Self::DoubleRecord => "double-record",
            Self::OvertakingReload => "overtaking-reload",
            Self::LeakedEntry => "leaked-entry",
            Self::LostDeadline => "lost-deadline",
            Self::ForgottenRollback => "forgotten-rollback",
        })
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::ALL.map(|plant| plant.to_string()).join(", ");
        let found = Self::ALL.into_iter().find(|plant| plant.to_string() == text);
        found.ok_or_else(|| format!("there is no bug {text}: name one of {all}"))
    }
}

/// A core with a bug, or without.
#[derive(Clone, Debug, Default)]
pub(super) struct Planted {
    plant: Option<Plant>,
    /// The highest preparation that was parsed.
    parsed: u64,
    releases: u64,
}

impl Planted {
    pub(super) fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    /// An input on its way to the core.
    pub(super) fn input(&mut self, mut input: Input) -> Input {
        if self.plant == Some(Plant::ForgottenRollback)
            && let Input::Started(started) = &mut input
        {
            (started.kept.rolled_back, started.kept.confirmed) = (None, None);
        }
        if self.plant == Some(Plant::OvertakingReload)
            && let Input::Parsed { number, prepared } = input
        {
            self.parsed = self.parsed.max(number);
            return Input::Parsed { number: self.parsed, prepared };
        }
        input
    }

    /// The actions of the core; `generation` is in force.
    pub(super) fn actions(&mut self, mut actions: Vec<Action>, generation: u32) -> Vec<Action> {
        match self.plant {
            None | Some(Plant::OvertakingReload | Plant::ForgottenRollback) => {}
            Some(Plant::LostDeadline) => {
                for action in &mut actions {
                    if let Action::Flip(flip) = action {
                        flip.until = None;
                    }
                }
            }
            Some(Plant::WrongGeneration) => {
                for action in &mut actions {
                    let Action::Release { writes, .. } = action else { continue };
                    for write in writes {
                        if let Write::Answer { key, .. } = write {
                            key.generation = generation;
                        }
                    }
                }
            }
            Some(Plant::LostRelease) => {
                for action in &mut actions {
                    if let Action::Release { packet, .. } = action
                        && packet.is_some()
                    {
                        self.releases += 1;
                        if self.releases.is_multiple_of(5) {
                            *packet = None;
                        }
                    }
                }
            }
            Some(Plant::DoubleRecord) => {
                let twice: Vec<Action> = actions
                    .iter()
                    .filter(|action| matches!(action, Action::Record(record) if record.held_for.is_some()))
                    .cloned()
                    .collect();
                actions.extend(twice);
            }
            Some(Plant::LeakedEntry) => {
                actions.retain(|action| !matches!(action, Action::Write(Write::TakeBackBanner(_))));
            }
        }
        actions
    }
}
