//! Answers of user space.
//!
//! In: verdicts of user space. Out: entries that the gate, or sk_lookup, finds at the next packet.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use tcpw_common::{
    answer::{Answer, AnswerOnce, ResetOnce},
    challenge::Challenge,
    key::{AnswerKey, AttemptKey, FlowKey},
    layout::SPARE_WORDS,
};

use super::maps::open;

/// The tables of answers.
pub struct AnswerMaps {
    all: HashMap<MapData, AnswerKey, Answer>,
    once: HashMap<MapData, AttemptKey, AnswerOnce>,
    resets: HashMap<MapData, FlowKey, ResetOnce>,
    held: HashMap<MapData, AttemptKey, u64>,
    challenges: HashMap<MapData, FlowKey, Challenge>,
}

impl AnswerMaps {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            all: open(ebpf, "ANSWERS")?,
            once: open(ebpf, "ANSWERS_ONCE")?,
            resets: open(ebpf, "RESET_ONCE")?,
            held: open(ebpf, "HELD")?,
            challenges: open(ebpf, "CHALLENGES")?,
        })
    }

    /// Answers every attempt of a key until `expires_ns`, on CLOCK_BOOTTIME. `marks` are those of an outcome.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn answer(&mut self, key: AnswerKey, outcome: u32, marks: u8, expires_ns: u64) -> Result<()> {
        let answer = Answer { spare: SPARE_WORDS, expires_ns, outcome, marks: marks.into() };
        self.all.insert(key, answer, 0).context("write an answer")
    }

    /// Answers one attempt only.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn answer_once(&mut self, key: AttemptKey, once: AnswerOnce) -> Result<()> {
        self.once.insert(key, once, 0).context("write an answer")
    }

    /// Refuses the next SYN of an attempt's flow before the kernel looks for its listener.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn reset_once(&mut self, flow: FlowKey, once: ResetOnce) -> Result<()> {
        self.resets.insert(flow, once, 0).context("write a refusal")
    }

    /// A reset of this flow with the sequence number `seq` answers the challenge of its client.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn expect_reset(&mut self, flow: FlowKey, seq: u32) -> Result<()> {
        self.challenges.insert(flow, Challenge { answer: seq, wrong: 0 }, 0).context("write a challenge")
    }

    /// Allows an attempt to be held again at once: before, it was held for another reason.
    ///
    /// # Errors
    /// The kernel refuses the write.
    pub fn forget_held(&mut self, key: &AttemptKey) -> Result<()> {
        match self.held.remove(key) {
            // The table may have evicted it.
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).context("forget a held attempt"),
        }
    }
}
