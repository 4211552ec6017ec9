//! What the daemon writes.

use tcpw_common::{answer::Answer, layout::SPARE_WORDS};

use super::SimulatedKernel;
use crate::core::action::{BanWrites, Write};

impl SimulatedKernel {
    /// One write; a banner that is taken back says whether it was there.
    pub(in crate::simulate) fn write(&mut self, write: &Write) -> bool {
        match write {
            Write::Answer { key, answer, marks, expires_ns } => {
                let marks = u32::from(*marks);
                let answer = Answer { spare: SPARE_WORDS, expires_ns: *expires_ns, outcome: *answer, marks };
                self.answers.insert(*key, answer);
            }
            Write::AnswerOnce { key, once } => drop(self.answers_once.insert(*key, *once)),
            Write::ResetOnce { key, once } if self.may_reset(&key.flow) => {
                self.reset_once.insert(key.flow, *once);
            }
            Write::ResetOnce { .. } => {}
            Write::ForgetHeld(key) => drop(self.held.remove(key)),
            Write::NameListener { cookie, tag } => drop(self.listeners.insert(*cookie, *tag)),
            Write::LeaveBanner { key, banner } => {
                let length = usize::try_from(banner.length).unwrap_or_default();
                self.banners.insert(*key, length);
            }
            Write::TakeBackBanner(key) => return self.banners.remove(key).is_some(),
            Write::DismissBannerSocket(_) => {}
            Write::RefuseWaiting(waiting) => {
                if let Some(waiting) = self.waiting.get_mut(&waiting.socket) {
                    waiting.refused = 1;
                }
            }
            Write::StopWaiting(socket) => drop(self.waiting.remove(socket)),
        }
        true
    }

    /// Writes bans, and the scopes of names-sets first.
    pub(in crate::simulate) fn write_bans(&mut self, writes: &BanWrites) {
        for (names, scopes) in &writes.scopes {
            self.bans.set_scopes(*names, *scopes);
        }
        self.bans.change(&writes.changes, writes.in_use, writes.replace_all);
    }

    /// Watches which processes bind these UDP ports.
    pub(in crate::simulate) fn watch_udp_ports(&mut self, netns: u64, ports: impl IntoIterator<Item = u16>) {
        self.udp_ports.retain(|(other, _)| *other != netns);
        self.udp_ports.extend(ports.into_iter().map(|port| (netns, port)));
    }

    /// The UDP ports that are watched.
    pub(in crate::simulate) fn watched(&self, netns: u64) -> impl Iterator<Item = u16> {
        self.udp_ports.iter().filter(move |(other, _)| *other == netns).map(|(_, port)| *port)
    }
}
