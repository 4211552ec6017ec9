//! The refusal at once: a refused client is reset, or its connection is redirected, where that is certain.

use tcpw_common::{
    certified::{Certified, MAY_CLOSE, MAY_REDIRECT, MAY_RESET},
    counter::Counter,
    decide::{AUDIT, Decision},
    event::Kind,
    key::{AnswerKey, AttemptKey, FlowKey, Query, UdpClientKey, as_v4},
    limits::{REDIRECTED_NS, REFUSED_FLOW_NS, SAME_ATTEMPT_NS},
    outcome::{Outcome, REDIRECT},
    refusal::{BY_GATE, BY_REDIRECT, BY_RESET, RefusedFlow},
    tag::Tag,
};

use super::{
    Decided, Passage, SimulatedKernel,
    emit::Report,
    gate::{is_source_within, is_within},
};
use crate::redirect::Family;

const UDP: u16 = 17;

impl SimulatedKernel {
    /// Before the kernel looks for a listener.
    pub(super) fn look_up(&mut self, flow: &FlowKey) -> Passage {
        let Some(certified) = self.certificate(flow) else { return Passage::Pass };
        if certified.flags & (MAY_RESET | MAY_REDIRECT) == 0 {
            return Passage::Pass;
        }
        let is_udp = flow.protocol == UDP;
        let query = Query {
            names: certified.names,
            client: flow.client,
            server: flow.server,
            port: flow.server_port,
        };
        let Some(decision) = self.decide(&query) else {
            return Passage::Pass;
        };
        if decision.flags & AUDIT != 0 {
            return Passage::Pass;
        }
        let mut once = None;
        let marks = match decision.outcome {
            Outcome::Refuse => Some(decision.marks),
            Outcome::Ask => self.answered_so(flow, &certified, &decision, &mut once),
            Outcome::Allow | Outcome::Exempt => None,
        };
        let Some(marks) = marks else { return Passage::Pass };
        let redirects = !is_udp && marks & REDIRECT != 0 && certified.flags & MAY_REDIRECT != 0;
        let closes = !is_udp && certified.flags & MAY_CLOSE != 0 && once.is_none();
        if !redirects && certified.flags & MAY_RESET == 0 {
            return Passage::Pass;
        }
        if is_udp {
            return self.refuse_datagram(flow, &certified, &decision);
        }
        let before = if once.is_none() { self.flows.get(flow).copied() } else { None };
        let within = |by, span| before.is_some_and(|flow| flow.by == by && self.now_ns < flow.at_ns + span);
        if within(BY_GATE, REFUSED_FLOW_NS) {
            return Passage::Pass;
        }
        let (was_redirected, is_same) =
            (within(BY_REDIRECT, REFUSED_FLOW_NS), within(BY_REDIRECT, REDIRECTED_NS));
        let is_same_reset = within(BY_RESET, SAME_ATTEMPT_NS);
        if !((redirects || closes) && was_redirected || self.takes_one(flow)) {
            self.count(Counter::ResetLimited);
            return Passage::Pass;
        }
        if (redirects || closes) && self.has_redirect_listener(flow) {
            self.flows.insert(*flow, RefusedFlow { at_ns: self.now_ns, by: BY_REDIRECT });
            self.count(if is_same { Counter::Retransmits } else { Counter::Refused });
            self.refused(Kind::Redirected, flow, &certified, &decision, !is_same);
            return Passage::Redirected;
        }
        if certified.flags & MAY_RESET == 0 {
            return Passage::Pass;
        }
        self.count(Counter::Reset);
        if !is_same_reset {
            self.flows.insert(*flow, RefusedFlow { at_ns: self.now_ns, by: BY_RESET });
            self.attempts.extend(once.map(|key| (key, self.now_ns)));
            self.count(Counter::Refused);
        } else {
            self.count(Counter::Retransmits);
        }
        self.refused(Kind::Refused, flow, &certified, &decision, !is_same_reset);
        Passage::Reset
    }

    /// Whether clients of a place are reset.
    pub(super) fn may_reset(&self, flow: &FlowKey) -> bool {
        self.certificate(flow).is_some_and(|certified| certified.flags & MAY_RESET != 0)
    }

    fn refuse_datagram(&mut self, flow: &FlowKey, certified: &Certified, decision: &Decision) -> Passage {
        if !self.takes_one(flow) {
            self.count(Counter::ResetLimited);
            return Passage::Pass;
        }
        self.count(Counter::Reset);
        let key = UdpClientKey {
            listener: certified.cookie,
            client: flow.client,
            outcome: Outcome::Refuse as u32,
            reserved: 0,
        };
        let is_first = self.is_first_of(key);
        self.count(if is_first { Counter::Refused } else { Counter::Repeats });
        self.refused(Kind::Refused, flow, certified, decision, is_first);
        Passage::Reset
    }

    fn has_redirect_listener(&self, flow: &FlowKey) -> bool {
        let family = if as_v4(&flow.server).is_some() { Family::V4 } else { Family::V6 };
        self.redirect_listeners.contains_key(&(flow.netns, family))
    }

    /// The marks of user space's answer to what the address does not decide, if it is a refusal.
    fn answered_so(
        &mut self,
        flow: &FlowKey,
        certified: &Certified,
        decision: &Decision,
        once: &mut Option<AttemptKey>,
    ) -> Option<u8> {
        let key = AnswerKey {
            generation: decision.generation,
            policy: decision.policy,
            client: flow.client,
            server: flow.server,
        };
        match self.answers.get(&key).filter(|answer| self.now_ns < answer.expires_ns) {
            Some(answer) if answer.outcome == Outcome::Refuse as u32 => {
                Some(u8::try_from(answer.marks & 0xff).unwrap_or_default())
            }
            Some(_) => None,
            None => {
                let reset = self.reset_once.remove(flow)?;
                *once =
                    Some(AttemptKey { flow: *flow, listener: certified.cookie, isn: reset.isn, reserved: 0 });
                let holds = self.now_ns < reset.expires_ns
                    && reset.generation == decision.generation
                    && reset.names == certified.names;
                holds.then_some(0)
            }
        }
    }

    fn takes_one(&mut self, flow: &FlowKey) -> bool {
        let [per_source, total] = self.rates;
        is_source_within(&mut self.reset_sources, &flow.client, per_source, self.now_ns)
            && is_within(&mut self.resets, total, self.now_ns)
    }

    fn refused(
        &mut self,
        kind: Kind,
        flow: &FlowKey,
        certified: &Certified,
        decision: &Decision,
        is_first: bool,
    ) {
        let tag = Tag { names: certified.names, netns: flow.netns, pid: certified.pid, flags: 0 };
        let report = Report {
            tag,
            cookie: certified.cookie,
            flow: *flow,
            family: certified.family,
            generation: decision.generation,
            policy: decision.policy,
            comm: [0; 16],
        };
        let reported = is_first.then(|| self.emit(kind, &report));
        self.decided.push(Decided {
            flow: *flow,
            names: tag.names,
            generation: decision.generation,
            pid: tag.pid,
            is_allowed: false,
            is_user_unknown: false,
            is_exempt: false,
            reported,
        });
    }
}
