//! Re-injects held packets, sends acknowledgements in a client's place, and challenges: on a thread, in order.
//!
//! In: packets, each for a network namespace. Out: the packets. If one cannot be sent, its client retransmits.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
};

use anyhow::{Context as _, Result};

use crate::{
    config::Config,
    core::action::{Acknowledge, Reinject},
    daemon::prefer,
    events::{Decision, ip},
    kernel::Frames,
    reinject::{Acknowledgement, ChallengePacket, Injector, Packet},
};

enum Job {
    Packet(Reinject),
    Acknowledge(Acknowledge),
    Challenge(Decision, u32, ChallengePacket),
    Keep(Arc<HashSet<u64>>),
}

/// The thread.
pub(super) struct Reinjector {
    jobs: mpsc::Sender<Job>,
}

impl Reinjector {
    /// Starts it. Without `frames`, packets that must be received on their own device are not re-injected.
    pub(super) fn start(config: &Config, frames: Option<Frames>) -> Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let mut injector = Injector::new(&config.proc_root, frames);
        thread::Builder::new()
            .name("reinject".into())
            .spawn(move || {
                prefer("clients that were held");
                while let Ok(job) = queue.recv() {
                    do_one(&mut injector, &job);
                }
            })
            .context("start the thread that re-injects held packets")?;
        Ok(Self { jobs })
    }

    /// Re-injects a held packet.
    pub(super) fn send(&self, packet: Reinject) {
        self.job(Job::Packet(packet));
    }

    /// Sends an acknowledgement in a client's place.
    pub(super) fn acknowledge(&self, acknowledge: Acknowledge) {
        self.job(Job::Acknowledge(acknowledge));
    }

    /// Sends a challenge to the client of a decision; a process in its namespace.
    pub(super) fn challenge(&self, decision: Decision, pid: u32, packet: ChallengePacket) {
        self.job(Job::Challenge(decision, pid, packet));
    }

    /// Closes the sockets of every namespace except these.
    pub(super) fn keep_namespaces(&self, namespaces: Arc<HashSet<u64>>) {
        self.job(Job::Keep(namespaces));
    }

    fn job(&self, job: Job) {
        // The thread lives as long as this value.
        let _ = self.jobs.send(job);
    }
}

fn do_one(injector: &mut Injector, job: &Job) {
    let sent = match job {
        Job::Keep(namespaces) => {
            injector.keep_only(|netns| namespaces.contains(&netns));
            Ok(())
        }
        Job::Packet(Reinject { netns, pid, ifindex, by_device, held }) => {
            let Some(packet) = Packet::new(held.bytes()) else { return };
            if *by_device || packet.is_link_local() {
                injector.send_by_device(*netns, *pid, *ifindex, &packet)
            } else {
                injector.send(*netns, *pid, &packet)
            }
        }
        Job::Acknowledge(Acknowledge { pid, decision, pending, seq }) => {
            let client = SocketAddr::new(ip(&decision.client), decision.client_port);
            let server = SocketAddr::new(ip(&decision.server), decision.server_port);
            let window = u16::try_from(pending.window).unwrap_or(u16::MAX);
            let Some(packet) = Acknowledgement::new(client, server, *seq, pending.ack, window) else {
                return;
            };
            injector.send_packet(decision.netns, *pid, packet.bytes(), packet.destination())
        }
        Job::Challenge(decision, pid, packet) => {
            let client = ip(&decision.client);
            injector.send_on_link(decision.netns, *pid, packet.bytes(), client, decision.ifindex)
        }
    };
    if let Err(error) = sent {
        log::debug!("a packet was not sent, its client has to retransmit: {error}");
    }
}
