//! Acknowledgements that tcpw sends in a client's place, so that nobody waits for a timer.
//!
//! In: connections and handshakes that wait for their client's user, as the gate read their last ACK.
//! Out: that ACK once more, without data. Invariant: it says nothing that the client has not said.

use std::net::SocketAddr;

use tcpw_common::user::{Pending, Waiting, ends};

use super::{Daemon, judge};
use crate::{events::Decision, reinject::Acknowledgement};

impl Daemon {
    /// Has the server's socket send what it could not send before, at once.
    pub(super) fn nudge(&mut self, waiting: &Waiting, decision: &Decision) {
        if waiting.pending.answer != 0 {
            self.acknowledge(decision, &waiting.pending, waiting.pending.seq);
        }
    }

    /// Completes a handshake whose last ACK had data: there is no user to ask for before there is a
    /// connection. A listener with TCP_DEFER_ACCEPT takes no ACK that stands where its data begin: this
    /// one stands one byte further on, as that of a client who has sent them does.
    pub(super) fn complete(&mut self, decision: &Decision) {
        let Decision { client, server, client_port, server_port, .. } = *decision;
        match self.kernel.pending_handshake(&ends(client, server, client_port, server_port)) {
            Ok(Some(pending)) => self.acknowledge(decision, &pending, pending.seq.wrapping_add(1)),
            // It was completed meanwhile.
            Ok(None) => {}
            Err(error) => log::error!("{error:#}"),
        }
    }

    fn acknowledge(&mut self, decision: &Decision, pending: &Pending, seq: u32) {
        let (client, server): (SocketAddr, SocketAddr) = judge::ends(decision);
        let window = u16::try_from(pending.window).unwrap_or(u16::MAX);
        let Some(packet) = Acknowledgement::new(client, server, seq, pending.ack, window) else {
            return;
        };
        let resident = self.registry.resident_of(decision.netns, decision.pid);
        let sent = self.injector.send_packet(decision.netns, resident, packet.bytes(), packet.destination());
        if let Err(error) = sent {
            log::debug!("a connection is left to its own retransmits: {error}");
        }
    }
}
