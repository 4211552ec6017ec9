//! Clients: each makes one attempt, as Linux would.
//!
//! In: steps of the plan, what became of packets. Out: packets.
//! Source: a SYN is sent again after 1 s, 2 s, 4 s and so on (RFC 6298, 2.1 and 5.5).

use tcpw_common::{key::FlowKey, user::Pending};

use super::{
    history::{Happening, History, MS},
    host,
    kernel::{Data, Packet, Passage},
    ledger,
    plan::{CLIENTS, Sends},
};
use crate::redirect::Family;
use crate::{
    core::{Input, input::Arrived},
    events::address,
};

/// Most times that data are sent.
const MOST_DATA: u32 = 12;

/// One client, and its attempt.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) flow: FlowKey,
    pub(super) isn: u32,
    pub(super) began_ns: u64,
    pub(super) address: usize,
    syns: u32,
    sends: Sends,
    pub(super) state: AttemptState,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptState {
    /// The SYN was sent, and not answered.
    Connecting,
    /// The SYN was answered.
    Answered,
    /// There is a connection.
    Connected,
    /// The connection is tcpw's.
    Redirected,
    /// It was reset, or it ended.
    Over,
    /// The client waits no longer.
    GaveUp,
}

/// A client begins.
pub(super) fn begins(
    history: &mut History,
    (client, listener): (usize, usize),
    (port, isn, sends, syns): (u16, u32, Sends, u32),
) -> Option<usize> {
    let from = CLIENTS[client];
    let (netns, server_port, protocol) = host::place_of(listener);
    let flow = FlowKey {
        netns,
        client: address(from),
        server: address(host::server_address(from)),
        client_port: port,
        server_port,
        protocol,
        reserved: 0,
    };
    if history.by_flow.contains_key(&flow) {
        return None;
    }
    let number = history.clients.len();
    history.clients.push(Client {
        flow,
        isn,
        began_ns: history.now_ns,
        address: client,
        syns,
        sends,
        state: AttemptState::Connecting,
    });
    history.by_flow.insert(flow, number);
    Some(number)
}

/// A SYN is sent, for the first time or again.
pub(super) fn sends_syn(history: &mut History, client: usize, number: u32) {
    let Client { syns, state, .. } = history.clients[client];
    if state != AttemptState::Connecting {
        return;
    }
    if number >= syns {
        history.clients[client].state = AttemptState::GaveUp;
        return history
            .note(|history| format!("client :{} gives up", history.clients[client].flow.client_port));
    }
    let wait_ms = 1000 << number;
    let at = history.now_ns + wait_ms * MS;
    syn_arrives(history, client, "sends SYN");
    if history.clients[client].state == AttemptState::Connecting {
        history.at(at, Happening::Syn { client, number: number + 1 });
    }
}

/// A SYN arrives: its client's, or one that was held and is sent again.
pub(super) fn syn_arrives(history: &mut History, client: usize, how: &str) {
    let Client { flow, isn, .. } = history.clients[client];
    let passage = history.kernel.receive(&Packet { flow, isn, completes: false, has_data: false });
    history.note(|history| {
        let generation = history.kernel.generation();
        format!("client :{} {how}: {passage:?} (generation {generation})", flow.client_port)
    });
    ledger::decided(history);
    if history.clients[client].state != AttemptState::Connecting {
        return;
    }
    match passage {
        Passage::Drop => {}
        Passage::Reset | Passage::Closed => history.clients[client].state = AttemptState::Over,
        Passage::Pass if history.clients[client].syns == 1 => {
            // It sends nothing more: its handshake never comes to its end.
            history.clients[client].state = AttemptState::GaveUp;
        }
        Passage::Pass => {
            history.clients[client].state = AttemptState::Answered;
            let at =
                history.now_ns + 1 + history.chance(&[20, u64::from(flow.client_port)]).next() % (20 * MS);
            history.at(at, Happening::Ack { client, number: 0 });
        }
        Passage::Redirected => {
            history.clients[client].state = AttemptState::Redirected;
            let family = family_of(&flow);
            if let Some(listener) = history.kernel.redirect_listeners.get(&(flow.netns, family)).copied() {
                let at = history.now_ns + history.delay_ns(&[21, u64::from(flow.client_port)]);
                history.at(at, Happening::Arrival { client, listener });
            }
        }
    }
}

fn family_of(flow: &FlowKey) -> Family {
    if crate::events::ip(&flow.server).is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The last ACK of a handshake.
pub(super) fn sends_ack(history: &mut History, client: usize, number: u32) {
    let Client { state, sends, .. } = history.clients[client];
    if state != AttemptState::Answered {
        return;
    }
    if number >= 5 {
        history.clients[client].state = AttemptState::GaveUp;
        return;
    }
    if !ack_arrives(history, client, sends == Sends::Data) {
        let at = history.now_ns + (1000 << number) * MS;
        history.at(at, Happening::Ack { client, number: number + 1 });
    }
}

/// An ACK arrives: its client's, or one in its place; whether there is a connection then.
pub(super) fn ack_arrives(history: &mut History, client: usize, has_data: bool) -> bool {
    let Client { flow, isn, state, .. } = history.clients[client];
    if state != AttemptState::Answered {
        return true;
    }
    let passage = history.kernel.receive(&Packet { flow, isn, completes: true, has_data });
    history.note(|_| format!("client :{} ACK, data {has_data}: {passage:?}", flow.client_port));
    ledger::decided(history);
    match passage {
        Passage::Pass => {
            let socket = history.kernel.established(flow, isn);
            history.clients[client].state = AttemptState::Connected;
            history.note(|history| {
                let waits = history.kernel.waiting.contains_key(&socket);
                format!("client :{} is connected, socket {socket}, waits {waits}", flow.client_port)
            });
            ledger::connected(history, client, socket);
            let at =
                history.now_ns + MS + history.chance(&[22, u64::from(flow.client_port)]).next() % (3000 * MS);
            history.at(at, Happening::Data { client, socket, number: 0 });
            true
        }
        Passage::Drop => false,
        Passage::Reset | Passage::Redirected | Passage::Closed => {
            history.clients[client].state = AttemptState::Over;
            true
        }
    }
}

/// Data of a connection, or its end.
pub(super) fn sends_data(history: &mut History, client: usize, socket: u64, number: u32) {
    if !history.kernel.connections.contains_key(&socket) {
        history.clients[client].state = AttemptState::Over;
        return;
    }
    let port = history.clients[client].flow.client_port;
    let passed = history.kernel.data(socket);
    history.note(|_| format!("client :{port} sends data: {passed:?}"));
    if passed == Data::Dropped {
        ledger::data_dropped(history, client, socket);
    }
    match passed {
        Data::Passed => ledger::data_passed(history, client, socket, None),
        Data::PassedByDeadline(Pending { tag, generation, .. }) => {
            ledger::data_passed(history, client, socket, Some((tag, generation)));
        }
        Data::Dropped if number < MOST_DATA => {
            return history
                .at(history.now_ns + 1500 * MS, Happening::Data { client, socket, number: number + 1 });
        }
        Data::Dropped => {}
    }
    closes(history, client, socket);
}

fn closes(history: &mut History, client: usize, socket: u64) {
    history.kernel.connections.remove(&socket);
    history.clients[client].state = AttemptState::Over;
}

/// A datagram.
pub(super) fn sends_datagram(history: &mut History, client: usize, left: u32) {
    if left == 0 {
        history.clients[client].state = AttemptState::Over;
        return;
    }
    datagram_arrives(history, client, "sends a datagram");
    let at = history.now_ns + 1000 * MS;
    history.at(at, Happening::Datagram { client, left: left - 1 });
}

/// A datagram arrives.
pub(super) fn datagram_arrives(history: &mut History, client: usize, how: &str) {
    let Client { flow, .. } = history.clients[client];
    let passage = history.kernel.receive(&Packet { flow, isn: 0, completes: false, has_data: false });
    history.note(|_| format!("client :{} {how}: {passage:?}", flow.client_port));
    ledger::decided(history);
}

/// A redirected connection has come to its listener; which may be closed.
pub(super) fn arrives(history: &mut History, client: usize, listener: u64) {
    let Client { flow, .. } = history.clients[client];
    let is_open = history.kernel.redirect_listeners.values().any(|open| *open == listener);
    if !is_open || history.daemon.is_none() {
        history.clients[client].state = AttemptState::Over;
        return;
    }
    let connection = ledger::redirected_arrives(history, client);
    let [from, to] = [(flow.client, flow.client_port), (flow.server, flow.server_port)]
        .map(|(address, port)| std::net::SocketAddr::new(crate::events::ip(&address), port));
    let arrived = Arrived { connection, netns: flow.netns, client: from, server: to };
    super::daemon::result(history, 0, Input::Arrived(arrived));
}
