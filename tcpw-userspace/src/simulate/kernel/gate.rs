//! The gate: the authority on every new connection.

use tcpw_common::{
    counter::Counter,
    decide::{AUDIT, Decision, NAMES_COUNT},
    event::Kind,
    handshake::Handshake,
    held::{Held, PACKET_BYTES},
    key::{Address, AttemptKey, FlowKey, Query, UdpClientKey, as_v4},
    limits::{HOLD_AGAIN_NS, HOLDS_PER_SOURCE, ONE_ATTEMPT_NS, ONE_SYN_NS, SLOW_NS},
    outcome::{Outcome, REDIRECT, REPORT},
    refusal::{BY_GATE, RefusedFlow},
    tag::{PROVISIONAL, Tag, UNPRIVILEGED},
};

use super::{Decided, Passage, SimulatedKernel, emit::Report};

const UDP: u16 = 17;

/// A packet that opens a connection, or completes its handshake, or is a datagram.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulate) struct Packet {
    pub(in crate::simulate) flow: FlowKey,
    /// The client's initial sequence number.
    pub(in crate::simulate) isn: u32,
    /// The last ACK of a handshake.
    pub(in crate::simulate) completes: bool,
    pub(in crate::simulate) has_data: bool,
}

/// What the gate knows of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) key: AttemptKey,
    pub(super) tag: Tag,
    pub(super) family: u32,
    pub(super) completes: bool,
    pub(super) has_data: bool,
    /// Its connection has to wait for its client's user.
    pub(super) waits: bool,
    pub(super) query: Query,
}

impl Attempt {
    pub(super) fn is_datagram(&self) -> bool {
        self.key.flow.protocol == UDP
    }
}

impl SimulatedKernel {
    /// A packet comes in.
    pub(in crate::simulate) fn receive(&mut self, packet: &Packet) -> Passage {
        self.decided.clear();
        if !packet.completes && self.is_gate_on && self.has_refusals {
            match self.look_up(&packet.flow) {
                Passage::Pass => {}
                decided @ (Passage::Drop | Passage::Reset | Passage::Redirected | Passage::Closed) => {
                    return decided;
                }
            }
        }
        let Some((cookie, socket)) = self.find_socket(&packet.flow) else { return Passage::Closed };
        if !self.is_gate_on {
            return Passage::Pass;
        }
        if packet.completes && !self.users_on {
            return Passage::Pass;
        }
        let is_datagram = packet.flow.protocol == UDP;
        if is_datagram && socket.tag.is_none() {
            return Passage::Pass;
        }
        let isn = if is_datagram { 0 } else { packet.isn };
        let key = AttemptKey { flow: packet.flow, listener: cookie, isn, reserved: 0 };
        let tag = self.identify(&key, socket.tag, packet.completes);
        let mut attempt = Attempt {
            key,
            tag,
            family: Self::family_of(&socket),
            completes: packet.completes,
            has_data: packet.has_data,
            waits: false,
            query: Query {
                names: tag.names,
                client: packet.flow.client,
                server: packet.flow.server,
                port: packet.flow.server_port,
            },
        };
        let passage = self.decide_attempt(&mut attempt);
        if passage == Passage::Pass && !is_datagram && !attempt.waits {
            // The kernel's table says so; here what is not in it need not wait.
            self.user_handshakes.remove(&packet.flow);
        }
        passage
    }

    /// Names the listener: by the tag of user space, on the socket or under its cookie; else by a provisional one.
    fn identify(&mut self, key: &AttemptKey, tag: Option<Tag>, completes: bool) -> Tag {
        let tag = tag.unwrap_or(Tag { names: 0, netns: 0, pid: 0, flags: PROVISIONAL });
        if tag.flags & PROVISIONAL == 0 {
            return tag;
        }
        match self.listeners.get(&key.listener) {
            Some(named) => *named,
            None => {
                if !completes {
                    self.count(Counter::Untagged);
                }
                tag
            }
        }
    }

    fn decide_attempt(&mut self, attempt: &mut Attempt) -> Passage {
        let Some(mut decision) = self.decide(&attempt.query) else {
            self.count(Counter::Broken);
            return Passage::Drop;
        };
        if attempt.completes && (decision.outcome == Outcome::Exempt || decision.flags & AUDIT != 0) {
            return Passage::Pass;
        }
        if decision.outcome == Outcome::Exempt {
            self.count(Counter::Exempt);
            self.note(attempt, &decision, true, None);
            return Passage::Pass;
        }
        if attempt.tag.flags & PROVISIONAL != 0 && decision.flags & NAMES_COUNT != 0 {
            if self.is_daemon_alive() {
                return self.wait(Kind::Unidentified, attempt, &decision);
            }
            if attempt.tag.flags & UNPRIVILEGED != 0 && decision.outcome != Outcome::Refuse {
                attempt.tag.names = 0;
                attempt.query.names = 0;
                decision = match self.decide(&attempt.query) {
                    Some(decision) => decision,
                    None => return Passage::Drop,
                };
            }
        }
        match decision.outcome {
            Outcome::Exempt => Passage::Pass,
            Outcome::Allow if Self::wants_text(attempt, &decision, decision.marks) => {
                self.ask(attempt, &decision, Some(decision.marks))
            }
            Outcome::Allow => self.allow(attempt, &decision, decision.marks),
            Outcome::Refuse => self.refuse(attempt, &decision),
            Outcome::Ask => self.ask(attempt, &decision, None),
        }
    }

    /// For the evaluator.
    pub(super) fn note(
        &mut self,
        attempt: &Attempt,
        decision: &Decision,
        is_allowed: bool,
        reported: Option<bool>,
    ) {
        self.decided.push(Decided {
            flow: attempt.key.flow,
            names: attempt.tag.names,
            generation: decision.generation,
            pid: attempt.tag.pid,
            is_allowed,
            is_user_unknown: false,
            is_exempt: decision.outcome == Outcome::Exempt,
            reported,
        });
    }

    pub(super) fn allow(&mut self, attempt: &Attempt, decision: &Decision, marks: u8) -> Passage {
        if attempt.completes {
            self.note(attempt, decision, true, None);
            return Passage::Pass;
        }
        self.count(Counter::Allowed);
        let is_audit = decision.flags & AUDIT != 0;
        if attempt.is_datagram() {
            let mut reported = None;
            if marks & REPORT != 0 && !is_audit && self.is_first_datagram(attempt, Outcome::Allow) {
                reported = Some(self.report(Kind::Accepted, attempt, decision));
            }
            self.note(attempt, decision, true, reported);
            return Passage::Pass;
        }
        self.note(attempt, decision, true, None);
        let mut marks = if is_audit { 0 } else { marks };
        if self.log_allowed {
            marks |= REPORT;
        }
        if marks != 0 {
            let handshake = Handshake {
                tag: attempt.tag,
                cookie: attempt.key.listener,
                generation: decision.generation,
                policy: decision.policy,
                marks: marks.into(),
                reserved: 0,
            };
            self.handshakes.insert(attempt.key.flow, handshake);
        }
        Passage::Pass
    }

    pub(super) fn refuse(&mut self, attempt: &Attempt, decision: &Decision) -> Passage {
        let is_audit = decision.flags & AUDIT != 0;
        let mut reported = None;
        if self.is_first(attempt) {
            let (counter, kind) = if is_audit {
                (Counter::WouldRefuse, Kind::WouldRefuse)
            } else {
                (Counter::Refused, Kind::Refused)
            };
            self.count(counter);
            reported = Some(self.report(kind, attempt, decision));
            if !is_audit && !attempt.is_datagram() && self.may_act_later(decision) {
                let flow = RefusedFlow { at_ns: self.now_ns, by: BY_GATE };
                self.flows.insert(attempt.key.flow, flow);
            }
        } else if attempt.is_datagram() {
            self.count(Counter::Repeats);
        } else {
            self.count(Counter::Retransmits);
        }
        self.note(attempt, decision, false, reported);
        if is_audit { Passage::Pass } else { Passage::Drop }
    }

    /// Whether sk_lookup may reset or redirect a retransmit of a SYN that the gate refused.
    fn may_act_later(&self, decision: &Decision) -> bool {
        self.are_resets_on || decision.outcome == Outcome::Ask || decision.marks & REDIRECT != 0
    }

    /// Leaves the attempt to user space. In audit mode it passes meanwhile.
    pub(super) fn wait(&mut self, kind: Kind, attempt: &Attempt, decision: &Decision) -> Passage {
        if let Err(bound) = self.hold(kind, attempt, decision) {
            self.count(bound);
        }
        if decision.flags & AUDIT != 0 { Passage::Pass } else { Passage::Drop }
    }

    fn is_first(&mut self, attempt: &Attempt) -> bool {
        if attempt.is_datagram() {
            return self.is_first_datagram(attempt, Outcome::Refuse);
        }
        let now_ns = self.now_ns;
        let is_first = self.attempts.get(&attempt.key).is_none_or(|first| now_ns >= first + ONE_SYN_NS);
        if is_first {
            self.attempts.insert(attempt.key, now_ns);
        }
        is_first
    }

    fn is_first_datagram(&mut self, attempt: &Attempt, outcome: Outcome) -> bool {
        let key = UdpClientKey {
            listener: attempt.key.listener,
            client: attempt.key.flow.client,
            outcome: outcome as u32,
            reserved: 0,
        };
        self.is_first_of(key)
    }

    pub(super) fn is_first_of(&mut self, key: UdpClientKey) -> bool {
        let now_ns = self.now_ns;
        let is_first = self.udp_attempts.get(&key).is_none_or(|before| now_ns >= before + ONE_ATTEMPT_NS);
        if is_first {
            self.udp_attempts.insert(key, now_ns);
        }
        is_first
    }

    pub(super) fn report(&mut self, kind: Kind, attempt: &Attempt, decision: &Decision) -> bool {
        self.emit(kind, &describe(attempt, decision))
    }

    fn was_held(&self, key: &AttemptKey) -> bool {
        self.held.get(key).is_some_and(|before| self.now_ns < before + HOLD_AGAIN_NS)
    }

    /// Whether it makes sense to hold an attempt for what only user space can add to it.
    pub(super) fn is_worth_holding(&self, key: &AttemptKey) -> bool {
        let Some(alive) = self.alive_ns else { return false };
        self.is_daemon_alive()
            || self.now_ns < alive + SLOW_NS && (self.was_held(key) || !self.held.contains_key(key))
    }

    /// Copies the packet to user space, unless it was held a moment ago; or says which bound it exceeds.
    pub(super) fn hold(&mut self, kind: Kind, attempt: &Attempt, decision: &Decision) -> Result<(), Counter> {
        if self.was_held(&attempt.key) {
            self.count(Counter::Retransmits);
            return Ok(());
        }
        if !is_source_within(&mut self.sources, &attempt.key.flow.client, HOLDS_PER_SOURCE, self.now_ns) {
            return Err(Counter::HoldLimited);
        }
        if self.holds.len() >= self.ring {
            return Err(Counter::HoldRingFull);
        }
        self.count(Counter::Asked);
        self.held.insert(attempt.key, self.now_ns);
        let event = self.record(kind, &describe(attempt, decision));
        let mut packet = [0; PACKET_BYTES];
        let length = header(&attempt.key, &mut packet);
        self.holds.push_back(Held { event, length, isn: attempt.key.isn, packet });
        Ok(())
    }

    /// Whether user space may be told that the last ACK of a handshake had data.
    pub(super) fn may_report_data(&mut self, flow: &FlowKey) -> bool {
        if self.data_reported.get(flow).is_some_and(|before| self.now_ns < before + HOLD_AGAIN_NS) {
            return false;
        }
        if !is_source_within(&mut self.sources, &flow.client, HOLDS_PER_SOURCE, self.now_ns) {
            self.count(Counter::HoldLimited);
            return false;
        }
        self.data_reported.insert(*flow, self.now_ns);
        true
    }
}

fn describe(attempt: &Attempt, decision: &Decision) -> Report {
    Report {
        tag: attempt.tag,
        cookie: attempt.key.listener,
        flow: attempt.key.flow,
        family: attempt.family,
        generation: decision.generation,
        policy: decision.policy,
        comm: [0; 16],
    }
}

/// A packet of the attempt: an IP header and the ports; its length.
fn header(key: &AttemptKey, packet: &mut [u8; PACKET_BYTES]) -> u32 {
    let FlowKey { client, server, client_port, server_port, protocol, .. } = key.flow;
    let protocol = u8::try_from(protocol).unwrap_or_default();
    let (head, length): (Vec<u8>, u32) = match (as_v4(&client), as_v4(&server)) {
        (Some(client), Some(server)) => {
            let fixed = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0];
            ([&fixed[..], &client, &server].concat(), 40)
        }
        _ => {
            let fixed = [0x60, 0, 0, 0, 0, 20, protocol, 64];
            ([&fixed[..], &client, &server].concat(), 60)
        }
    };
    let ports = [client_port.to_be_bytes(), server_port.to_be_bytes()].concat();
    let bytes = [head, ports, key.isn.to_be_bytes().to_vec()].concat();
    for (to, byte) in packet.iter_mut().zip(bytes) {
        *to = byte;
    }
    length
}

/// Counts one more in the current second.
pub(super) fn is_within(counted: &mut [u64; 2], bound: u64, now_ns: u64) -> bool {
    let second = now_ns / 1_000_000_000;
    if counted[0] == second {
        counted[1] += 1;
    } else {
        *counted = [second, 1];
    }
    counted[1] <= bound
}

/// Counts one more of a source.
pub(super) fn is_source_within(
    sources: &mut std::collections::BTreeMap<Address, [u64; 2]>,
    client: &Address,
    bound: u64,
    now_ns: u64,
) -> bool {
    let mut source = *client;
    if as_v4(client).is_none() {
        source[8..].fill(0);
    }
    is_within(sources.entry(source).or_default(), bound, now_ns)
}
