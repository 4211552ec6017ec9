//! Connections: those whose client's user decides wait.

use tcpw_common::{
    counter::Counter,
    event::Kind,
    key::{BannerKey, FlowKey},
    limits::USER_GRACE_NS,
    outcome::{BANNER, KEEPALIVE, Outcome, REPORT},
    user::{Mark, Pending, UserDecides, Waiting},
};

use super::{ConnectionSocket, SimulatedKernel, emit::Report};

const NS_PER_S: u64 = 1_000_000_000;

/// What became of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulate) enum Data {
    /// They passed.
    Passed,
    /// They passed because the kernel took the user for unknown.
    PassedByDeadline(Pending),
    /// They were dropped.
    Dropped,
}

impl SimulatedKernel {
    /// A handshake is complete: the cookie of the connection's socket.
    pub(in crate::simulate) fn established(&mut self, flow: FlowKey, isn: u32) -> u64 {
        let cookie = self.cookie();
        let mut connection = ConnectionSocket { flow, mark: None, asked: None, has_keepalive: false };
        if self.is_gate_on
            && self.users_on
            && let Some(pending) = self.user_handshakes.remove(&flow)
        {
            connection.asked = Some(pending.tag);
            let is_entered = self.marks_waiting(&mut connection, &pending, cookie);
            let is_open = UserDecides::from_answer(pending.answer)
                .is_none_or(|decides| decides.if_unknown == Outcome::Ask);
            let kind = match (is_entered, is_open) {
                (true, _) => Kind::WaitsForUser,
                (false, false) => Kind::NoRoomForUser,
                (false, true) => Kind::CannotWait,
            };
            let report = Report {
                tag: pending.tag,
                cookie,
                flow,
                family: pending.family,
                generation: pending.generation,
                policy: pending.policy,
                comm: [0; 16],
            };
            self.emit(kind, &report);
        }
        if let Some(handshake) = self.handshakes.remove(&flow).filter(|_| self.watches_accepted) {
            let has = |mark: u8| handshake.marks & u32::from(mark) != 0;
            if has(BANNER) && self.banners.remove(&BannerKey { flow, isn, reserved: 0 }).is_none() {
                self.count(Counter::BannersMissed);
            }
            connection.has_keepalive = has(KEEPALIVE);
            if has(REPORT) {
                let report = Report {
                    tag: handshake.tag,
                    cookie: handshake.cookie,
                    flow,
                    family: 2,
                    generation: handshake.generation,
                    policy: handshake.policy,
                    comm: [0; 16],
                };
                self.emit(Kind::Accepted, &report);
            }
        }
        self.connections.insert(cookie, connection);
        cookie
    }

    fn marks_waiting(&mut self, connection: &mut ConnectionSocket, pending: &Pending, socket: u64) -> bool {
        let Some(decides) = UserDecides::from_answer(pending.answer) else { return false };
        let deadline_ns = self.now_ns + u64::from(decides.timeout_s) * NS_PER_S + USER_GRACE_NS;
        self.count(Counter::UserWaits);
        let mut mark =
            Mark { cookie: socket, deadline_ns, if_unknown: decides.if_unknown as u32, expired: 0 };
        // The table is as short as the rings where those are short.
        let is_entered = self.waiting.len() < self.ring;
        if is_entered {
            let waiting = Waiting {
                flow: connection.flow,
                socket,
                pending: *pending,
                since_ns: self.now_ns,
                deadline_ns,
                refused: 0,
                reserved: 0,
            };
            self.waiting.insert(socket, waiting);
        } else {
            self.count(Counter::UserNoRoom);
            (mark.deadline_ns, mark.expired) = (0, 1);
        }
        connection.mark = Some(mark);
        is_entered
    }

    /// Data of a connection.
    pub(in crate::simulate) fn data(&mut self, socket: u64) -> Data {
        let Some(mark) = self.connections.get(&socket).and_then(|connection| connection.mark) else {
            return Data::Passed;
        };
        let waiting = self.waiting.get(&socket).copied();
        let refused = waiting.map(|waiting| waiting.refused != 0);
        if refused.is_none() && mark.expired == 0 {
            self.release(socket);
            return Data::Passed;
        }
        let is_over = self.now_ns >= mark.deadline_ns && (mark.expired != 0 || !self.is_daemon_alive());
        if refused != Some(true) && is_over {
            if mark.expired == 0 {
                self.count(Counter::UserExpired);
                if let Some(connection) = self.connections.get_mut(&socket) {
                    connection.mark = Some(Mark { expired: 1, ..mark });
                }
            }
            if mark.if_unknown == Outcome::Allow as u32 {
                self.waiting.remove(&socket);
                self.release(socket);
                return waiting.map_or(Data::Passed, |waiting| Data::PassedByDeadline(waiting.pending));
            }
        }
        self.count(Counter::UserSegments);
        Data::Dropped
    }

    fn release(&mut self, socket: u64) {
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.mark = None;
        }
    }
}
