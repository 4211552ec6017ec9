//! Clients: each makes one attempt, as Linux would.
//!
//! In: steps of the plan, what became of packets. Out: packets.
//! Source: a SYN is sent again after 1 s, 2 s, 4 s and so on (RFC 6298, 2.1 and 5.5).

use std::net::IpAddr;

use tcpw_common::{
    key::{FlowKey, mapped},
    user::Pending,
};

use super::{
    host,
    kernel::{Data, Packet, Passage},
    ledger,
    plan::{CLIENTS, Sends},
    world::{Happening, History, MS},
};
use crate::core::{Input, input::Arrived};
use crate::redirect::Family;

/// Most times that data are sent.
const MOST_DATA: u32 = 12;

/// One client, and its attempt.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) flow: FlowKey,
    pub(super) isn: u32,
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

/// The address of a client or listener, as the tables have it.
pub(super) fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A client begins.
pub(super) fn begins(
    world: &mut History,
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
    if world.by_flow.contains_key(&flow) {
        return None;
    }
    let number = world.clients.len();
    world.clients.push(Client { flow, isn, address: client, syns, sends, state: AttemptState::Connecting });
    world.by_flow.insert(flow, number);
    Some(number)
}

/// A SYN is sent, for the first time or again.
pub(super) fn sends_syn(world: &mut History, client: usize, number: u32) {
    let Client { syns, state, .. } = world.clients[client];
    if state != AttemptState::Connecting {
        return;
    }
    if number >= syns {
        world.clients[client].state = AttemptState::GaveUp;
        return world.note(|world| format!("client :{} gives up", world.clients[client].flow.client_port));
    }
    let wait_ms = 1000 << number;
    let at = world.now_ns + wait_ms * MS;
    syn_arrives(world, client, "sends SYN");
    if world.clients[client].state == AttemptState::Connecting {
        world.at(at, Happening::Syn { client, number: number + 1 });
    }
}

/// A SYN arrives: its client's, or one that was held and is sent again.
pub(super) fn syn_arrives(world: &mut History, client: usize, how: &str) {
    let Client { flow, isn, .. } = world.clients[client];
    let passage = world.kernel.receive(&Packet { flow, isn, completes: false, has_data: false });
    world.note(|world| {
        let generation = world.kernel.generation();
        format!("client :{} {how}: {passage:?} (generation {generation})", flow.client_port)
    });
    ledger::decided(world);
    if world.clients[client].state != AttemptState::Connecting {
        return;
    }
    match passage {
        Passage::Drop => {}
        Passage::Reset | Passage::Closed => world.clients[client].state = AttemptState::Over,
        Passage::Pass if world.clients[client].syns == 1 => {
            // It sends nothing more: its handshake never comes to its end.
            world.clients[client].state = AttemptState::GaveUp;
        }
        Passage::Pass => {
            world.clients[client].state = AttemptState::Answered;
            let at = world.now_ns + 1 + world.chance(&[20, u64::from(flow.client_port)]).next() % (20 * MS);
            world.at(at, Happening::Ack { client, number: 0 });
        }
        Passage::Redirected => {
            world.clients[client].state = AttemptState::Redirected;
            let family = family_of(&flow);
            if let Some(listener) = world.kernel.redirect_listeners.get(&(flow.netns, family)).copied() {
                let at = world.now_ns + world.delay_ns(&[21, u64::from(flow.client_port)]);
                world.at(at, Happening::Arrival { client, listener });
            }
        }
    }
}

fn family_of(flow: &FlowKey) -> Family {
    if crate::events::ip(&flow.server).is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The last ACK of a handshake.
pub(super) fn sends_ack(world: &mut History, client: usize, number: u32) {
    let Client { state, sends, .. } = world.clients[client];
    if state != AttemptState::Answered {
        return;
    }
    if number >= 5 {
        world.clients[client].state = AttemptState::GaveUp;
        return;
    }
    if !ack_arrives(world, client, sends == Sends::Data) {
        let at = world.now_ns + (1000 << number) * MS;
        world.at(at, Happening::Ack { client, number: number + 1 });
    }
}

/// An ACK arrives: its client's, or one in its place; whether there is a connection then.
pub(super) fn ack_arrives(world: &mut History, client: usize, has_data: bool) -> bool {
    let Client { flow, isn, state, .. } = world.clients[client];
    if state != AttemptState::Answered {
        return true;
    }
    let passage = world.kernel.receive(&Packet { flow, isn, completes: true, has_data });
    world.note(|_| format!("client :{} ACK, data {has_data}: {passage:?}", flow.client_port));
    ledger::decided(world);
    match passage {
        Passage::Pass => {
            let socket = world.kernel.established(flow, isn);
            world.clients[client].state = AttemptState::Connected;
            world.note(|world| {
                let waits = world.kernel.waiting.contains_key(&socket);
                format!("client :{} is connected, socket {socket}, waits {waits}", flow.client_port)
            });
            ledger::connected(world, client, socket);
            let at =
                world.now_ns + MS + world.chance(&[22, u64::from(flow.client_port)]).next() % (3000 * MS);
            world.at(at, Happening::Data { client, socket, number: 0 });
            true
        }
        Passage::Drop => false,
        Passage::Reset | Passage::Redirected | Passage::Closed => {
            world.clients[client].state = AttemptState::Over;
            true
        }
    }
}

/// Data of a connection, or its end.
pub(super) fn sends_data(world: &mut History, client: usize, socket: u64, number: u32) {
    if !world.kernel.connections.contains_key(&socket) {
        world.clients[client].state = AttemptState::Over;
        return;
    }
    let port = world.clients[client].flow.client_port;
    let passed = world.kernel.data(socket);
    world.note(|_| format!("client :{port} sends data: {passed:?}"));
    match passed {
        Data::Passed => ledger::data_passed(world, client, socket, None),
        Data::PassedByDeadline(Pending { tag, generation, .. }) => {
            ledger::data_passed(world, client, socket, Some((tag, generation)));
        }
        Data::Dropped if number < MOST_DATA => {
            return world
                .at(world.now_ns + 1500 * MS, Happening::Data { client, socket, number: number + 1 });
        }
        Data::Dropped => {}
    }
    closes(world, client, socket);
}

fn closes(world: &mut History, client: usize, socket: u64) {
    world.kernel.connections.remove(&socket);
    world.clients[client].state = AttemptState::Over;
}

/// A datagram.
pub(super) fn sends_datagram(world: &mut History, client: usize, left: u32) {
    if left == 0 {
        world.clients[client].state = AttemptState::Over;
        return;
    }
    datagram_arrives(world, client, "sends a datagram");
    let at = world.now_ns + 1000 * MS;
    world.at(at, Happening::Datagram { client, left: left - 1 });
}

/// A datagram arrives.
pub(super) fn datagram_arrives(world: &mut History, client: usize, how: &str) {
    let Client { flow, .. } = world.clients[client];
    let passage = world.kernel.receive(&Packet { flow, isn: 0, completes: false, has_data: false });
    world.note(|_| format!("client :{} {how}: {passage:?}", flow.client_port));
    ledger::decided(world);
}

/// A redirected connection has come to its listener; which may be closed.
pub(super) fn arrives(world: &mut History, client: usize, listener: u64) {
    let Client { flow, .. } = world.clients[client];
    let is_open = world.kernel.redirect_listeners.values().any(|open| *open == listener);
    if !is_open || world.daemon.is_none() {
        world.clients[client].state = AttemptState::Over;
        return;
    }
    let connection = ledger::redirected_arrives(world, client);
    let [from, to] = [(flow.client, flow.client_port), (flow.server, flow.server_port)]
        .map(|(address, port)| std::net::SocketAddr::new(crate::events::ip(&address), port));
    let arrived = Arrived { connection, netns: flow.netns, client: from, server: to };
    super::daemon::result(world, 0, Input::Arrived(arrived));
}
