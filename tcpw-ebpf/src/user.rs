//! Connections whose client's user decides: their data wait.
//!
//! In: handshakes that user space let go on for that reason, and every packet of a socket while a
//! policy with users is in force. Out: a marked socket and an entry in [`WAITING`] for each such
//! connection; of its packets only those without data pass, until user space removes the entry.
//! Invariant: not one byte of data passes a waiting connection, in either direction. Other
//! sockets pass after the first test: they carry no mark.
//! Hooks: cgroup_skb/ingress and egress, sock_ops.

use aya_ebpf::{
    bindings::{
        BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock,
    },
    cty::c_void,
    helpers::{
        bpf_get_socket_cookie, bpf_sk_fullsock,
        generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    },
    programs::{SkBuffContext, SockOpsContext},
};
use tcpw_common::{
    counter::Counter,
    event::Kind,
    fault::{HANDSHAKE_FORGOTTEN, HANDSHAKE_NOT_STORED, SOCKET_NOT_MARKED, WAITING_FULL},
    key::FlowKey,
    limits::{HANDSHAKE_ENDS_NS, USER_GRACE_NS},
    outcome::Outcome,
    user::{Mark, NO_USER, Pending, SINCE, UNMARKED, UserDecides, Waiting},
};

use crate::{
    accepted::flow,
    clock::boot_ns,
    emit::{Report, count, emit},
    fault::fails,
    hold::is_daemon_alive,
    maps::{MARKS, USER_HANDSHAKES, USERS, WAITING},
    net::{IPPROTO_TCP, TCP_LISTEN, TCP_SYN_RECV},
    netns,
    packet::{self, Segment},
    passage::Passage,
};

const NS_PER_S: u64 = 1_000_000_000;

/// Entries that say the same of any flow. Statics: the stack has no room for them.
static FREE: Pending = Pending { answer: NO_USER, ..Pending::REFUSED };
static REFUSED: Pending = Pending::REFUSED;

/// Whether users decide, or did until recently.
#[inline(always)]
pub(crate) fn do_count() -> bool {
    USERS.get(SINCE).is_some_and(|since| *since != 0)
}

/// Lets a handshake go on whose connection need not wait.
#[inline(always)]
pub(crate) fn go_on_freely(flow: &FlowKey, pending: &mut Pending) -> Passage {
    pending.answer = NO_USER;
    // If it does not fit, no data of the connection would pass: the client has to try again.
    if remember(flow, pending) { Passage::Pass } else { Passage::Drop }
}

/// Whether the same is known of the flow. A copy of the SYN need not replace it while its connection is made.
#[inline(always)]
fn is_remembered(flow: &FlowKey, pending: &Pending) -> bool {
    USER_HANDSHAKES.get(flow).is_some_and(|known| {
        known.answer == pending.answer
            && known.generation == pending.generation
            && known.policy == pending.policy
            && known.seq == pending.seq
    })
}

#[inline(always)]
fn remember(flow: &FlowKey, pending: &Pending) -> bool {
    !fails(HANDSHAKE_NOT_STORED) && USER_HANDSHAKES.set(flow, pending)
}

/// Lets a handshake go on whose connection will wait, unless its packet has data. Also if the last ACK has data,
/// the handshake is remembered: user space may send that ACK without the data.
#[inline(always)]
pub(crate) fn go_on(flow: &FlowKey, pending: &Pending, is_syn: bool, has_data: bool) -> Passage {
    if has_data {
        count(if is_syn { Counter::UserSyns } else { Counter::UserSegments });
        if !is_syn {
            // If it does not fit, the retransmitted SYN-ACK makes the client send its ACK again.
            remember(flow, pending);
        }
        return Passage::Drop;
    }
    if is_syn && is_remembered(flow, pending) {
        return Passage::Pass;
    }
    // If it does not fit, the connection's socket would not be marked: the client has to try again.
    if remember(flow, pending) { Passage::Pass } else { Passage::Drop }
}

/// sock_ops: the socket of a connection was made. Marks it if the connection has to wait, or if the handshake is not
/// known.
#[inline(always)]
pub(crate) fn accepted(ctx: &SockOpsContext) {
    let flow = flow(ctx);
    match ctx.op() {
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {}
        // A connection of this host's own may be completed like an accepted one: both ends send a SYN.
        BPF_SOCK_OPS_TCP_CONNECT_CB => return own_connection_begins(&flow),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => return USER_HANDSHAKES.remove(&flow),
        _other => return,
    }
    let Some(pending) = USER_HANDSHAKES.get(&flow).filter(|_| !fails(HANDSHAKE_FORGOTTEN)) else {
        return is_not_known(ctx);
    };
    if pending.answer == NO_USER {
        // The entry stays: a connection that its SYN opened (Fast Open) has its data before its ACK.
        return;
    }
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    let kind = match wait(ctx, &flow, &pending, cookie) {
        Wait::Begins => Kind::WaitsForUser,
        Wait::HasNoRoom => Kind::NoRoomForUser,
        Wait::CannotBegin => Kind::CannotWait,
        // The entry of its handshake stays: by it the data are found.
        Wait::HasNothing => return,
    };
    // From here on the socket's mark, or its entry among those that wait, has this state.
    USER_HANDSHAKES.remove(&flow);
    emit(
        kind,
        &Report {
            time_ns: boot_ns(),
            tag: &pending.tag,
            cookie,
            flow: &flow,
            family: pending.family,
            ifindex: pending.ifindex,
            generation: pending.generation,
            policy: pending.policy,
            comm: &[0; 16],
        },
    );
}

#[inline(always)]
fn own_connection_begins(flow: &FlowKey) {
    USER_HANDSHAKES.set(flow, &FREE);
}

/// The state of a connection that has to wait.
enum Wait {
    Begins,
    /// The user is unknown, which decides.
    HasNoRoom,
    /// There is no room either, and an unknown user does not decide: the client is refused.
    CannotBegin,
    HasNothing,
}

/// Marks the socket, and enters it.
#[inline(always)]
fn wait(ctx: &SockOpsContext, flow: &FlowKey, pending: &Pending, socket: u64) -> Wait {
    let decides = UserDecides::from_answer(pending.answer);
    // More than the user is open, or nothing is known of the handshake.
    let is_open = decides.is_none_or(|decides| decides.if_unknown == Outcome::Ask);
    let decides = decides.unwrap_or(UserDecides { if_unknown: Outcome::Refuse, timeout_s: 0 });
    let now_ns = boot_ns();
    let deadline_ns = now_ns + u64::from(decides.timeout_s) * NS_PER_S + USER_GRACE_NS;
    count(Counter::UserWaits);
    // Before the mark: a mark without an entry lets data pass.
    let is_entered = !fails(WAITING_FULL) && enter(flow, pending, socket, (now_ns, deadline_ns));
    let mut mark = Mark { cookie: socket, deadline_ns, if_unknown: decides.if_unknown as u32, expired: 0 };
    if !is_entered {
        // The user is unknown: if the connection is then allowed its data pass at once, else never.
        count(Counter::UserNoRoom);
        (mark.deadline_ns, mark.expired) = (0, 1);
    }
    let is_marked = set_mark(ctx, &mut mark);
    if !is_marked {
        look_for_unmarked();
    }
    match (is_entered, is_marked) {
        (true, _) => Wait::Begins,
        (false, true) if is_open => Wait::CannotBegin,
        (false, true) => Wait::HasNoRoom,
        (false, false) => Wait::HasNothing,
    }
}

/// Enters a connection that waits; false if there is no room.
#[inline(always)]
fn enter(flow: &FlowKey, pending: &Pending, socket: u64, (since_ns, deadline_ns): (u64, u64)) -> bool {
    let waiting =
        Waiting { flow: *flow, socket, pending: *pending, since_ns, deadline_ns, refused: 0, reserved: 0 };
    WAITING.insert(&socket, &waiting, 0).is_ok()
}

/// No handshake of the connection is known: none of its data pass, unless the handshake may be from before users
/// decided. User space finds its entry, and ends it.
#[inline(always)]
fn is_not_known(ctx: &SockOpsContext) {
    let now_ns = boot_ns();
    if USERS.get(SINCE).is_none_or(|since| *since == 0 || now_ns < since.saturating_add(HANDSHAKE_ENDS_NS)) {
        return;
    }
    count(Counter::UserNotKnown);
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    let flow = flow(ctx);
    let is_entered = !fails(WAITING_FULL) && enter(&flow, &REFUSED, cookie, (now_ns, now_ns));
    let mut mark = Mark { cookie, deadline_ns: 0, if_unknown: Outcome::Refuse as u32, expired: 1 };
    if !set_mark(ctx, &mut mark) {
        if !is_entered {
            USER_HANDSHAKES.set(&flow, &REFUSED);
        }
        look_for_unmarked();
    }
}

/// Marks the connection's socket, whole at once; false if there is no memory.
#[inline(always)]
fn set_mark(ctx: &SockOpsContext, mark: &mut Mark) -> bool {
    if fails(SOCKET_NOT_MARKED) {
        return false;
    }
    // SAFETY: the socket is the context's; the verifier asks for the test of null. The value is copied into new storage
    // before the socket has it.
    unsafe {
        let sk = (*ctx.ops).__bindgen_anon_2.sk;
        !sk.is_null()
            && !bpf_sk_storage_get(
                marks(),
                sk.cast(),
                (&raw mut *mark).cast(),
                u64::from(BPF_SK_STORAGE_GET_F_CREATE),
            )
            .is_null()
    }
}

/// A socket has no mark for want of memory: from here on the socket of each packet without a mark is looked up.
#[inline(always)]
fn look_for_unmarked() {
    if let Some(unmarked) = USERS.get_ptr_mut(UNMARKED) {
        // SAFETY: the pointer is into the map and aligned; one store, whole.
        unsafe { unmarked.write_volatile(1) };
    }
}

#[inline(always)]
fn may_be_unmarked() -> bool {
    USERS.get(UNMARKED).is_some_and(|unmarked| *unmarked != 0)
}

/// cgroup_skb/ingress: a packet that a socket is about to receive.
#[inline(always)]
pub(crate) fn comes_in(ctx: &SkBuffContext) -> Passage {
    let Some(sk) = full_socket(ctx) else {
        return Passage::Pass;
    };
    // SAFETY: a full socket.
    let mark = unsafe { mark_of(sk.cast()) };
    if !mark.is_null() {
        // SAFETY: not null.
        return unsafe { passage(ctx, sk, &mut *mark) };
    }
    // SAFETY: a full socket.
    let state = unsafe { (*sk).state };
    if state == TCP_SYN_RECV {
        return not_marked_yet(ctx, sk);
    }
    if may_be_unmarked() && state != TCP_LISTEN { unmarked(ctx, sk, true) } else { Passage::Pass }
}

/// cgroup_skb/egress: a packet that a socket sends.
#[inline(always)]
pub(crate) fn goes_out(ctx: &SkBuffContext) -> Passage {
    let Some(sk) = full_socket(ctx) else {
        return Passage::Pass;
    };
    // SAFETY: a full socket.
    let mark = unsafe { mark_of(sk.cast()) };
    if mark.is_null() {
        return if may_be_unmarked() { unmarked(ctx, sk, false) } else { Passage::Pass };
    }
    // SAFETY: not null.
    unsafe { passage(ctx, sk, &mut *mark) }
}

#[inline(always)]
fn full_socket(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: the context is the kernel's; the verifier checks each access, and null is tested.
    unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() { None } else { Some(sk) }
    }
}

/// A packet of a marked socket.
#[inline(always)]
fn passage(ctx: &SkBuffContext, sk: *mut bpf_sock, mark: &mut Mark) -> Passage {
    // SAFETY: one number is read, which user space sets once.
    let refused = unsafe { WAITING.get(&mark.cookie) }.map(|waiting| waiting.refused != 0);
    if refused.is_none() && mark.expired == 0 {
        release(sk);
        return Passage::Pass;
    }
    let now_ns = boot_ns();
    // While the daemon is alive it decides, however long that takes.
    if refused != Some(true) && now_ns >= mark.deadline_ns && (mark.expired != 0 || !is_daemon_alive(now_ns))
    {
        if mark.expired == 0 {
            mark.expired = 1;
            count(Counter::UserExpired);
        }
        if mark.if_unknown == Outcome::Allow as u32 {
            let _ = WAITING.remove(&mark.cookie);
            release(sk);
            return Passage::Pass;
        }
    }
    without_data(ctx)
}

/// A packet of a socket that another CPU is making: it is marked before its state changes.
#[inline(always)]
fn not_marked_yet(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Passage {
    let mut flow = FlowKey::none(netns::of_tcp(sk), IPPROTO_TCP, 0);
    if packet::segment(ctx, &mut flow) == Segment::Empty {
        return Passage::Pass;
    }
    if USER_HANDSHAKES.get(&flow).is_some_and(|pending| pending.answer == NO_USER) {
        return Passage::Pass;
    }
    // Its sender sends it again.
    count(Counter::UserSegments);
    Passage::Drop
}

/// A packet of a connection whose socket could not be marked.
#[inline(always)]
fn unmarked(ctx: &SkBuffContext, sk: *mut bpf_sock, comes_in: bool) -> Passage {
    let mut flow = FlowKey::none(netns::of_tcp(sk), IPPROTO_TCP, 0);
    if flow.netns == 0 {
        // Not a TCP socket.
        return Passage::Pass;
    }
    match packet::segment(ctx, &mut flow) {
        Segment::Empty => Passage::Pass,
        Segment::Data => {
            // SAFETY: the helper takes the context.
            let socket = unsafe { bpf_get_socket_cookie(ctx.skb.skb.cast()) };
            // SAFETY: only tested for presence.
            if unsafe { WAITING.get(&socket) }.is_some() {
                count(Counter::UserSegments);
                return Passage::Drop;
            }
            // Nor was there room for an entry.
            if !comes_in {
                flow.turn_round();
            }
            if USER_HANDSHAKES.get(&flow).is_some_and(|pending| pending.answer != NO_USER) {
                count(Counter::UserSegments);
                Passage::Drop
            } else {
                Passage::Pass
            }
        }
    }
}

#[inline(always)]
fn without_data(ctx: &SkBuffContext) -> Passage {
    let mut flow = FlowKey::none(0, IPPROTO_TCP, 0);
    match packet::segment(ctx, &mut flow) {
        Segment::Empty => Passage::Pass,
        Segment::Data => {
            count(Counter::UserSegments);
            Passage::Drop
        }
    }
}

/// The socket's mark, or null.
///
/// # Safety
/// `sk` must be a socket pointer the verifier knows.
#[inline(always)]
unsafe fn mark_of(sk: *mut c_void) -> *mut Mark {
    // SAFETY: the map is socket storage of `Mark`.
    unsafe { bpf_sk_storage_get(marks(), sk, core::ptr::null_mut(), 0).cast() }
}

#[inline(always)]
fn release(sk: *mut bpf_sock) {
    // SAFETY: a full socket; its mark is not used after this.
    unsafe { bpf_sk_storage_delete(marks(), sk.cast()) };
}

#[inline(always)]
fn marks() -> *mut c_void {
    (&raw const MARKS).cast_mut().cast()
}
