//! Connections whose client's user decides: their data wait.
//!
//! In: handshakes that user space let go on for that reason, and every packet of a socket while a
//! policy with users is in force. Out: a marked socket and an entry in [`WAITING`] for each such
//! connection; of its packets only those without data pass, until user space removes the entry.
//! Invariant: not one byte of data passes a waiting connection, in either direction. Other
//! sockets pass after the first test: they carry no mark.
//! Hooks: cgroup_skb/ingress and egress, sock_ops.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, bpf_sock},
    cty::c_void,
    helpers::{
        bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_sk_fullsock,
        generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    },
    programs::{SkBuffContext, SockOpsContext},
};
use tcpw_common::{
    counter::Counter,
    event::Kind,
    key::FlowKey,
    limits::USER_GRACE_NS,
    outcome::Outcome,
    user::{Mark, Pending, UserDecides, Waiting},
};

use crate::{
    accepted::flow,
    emit::{Report, count, emit},
    hold::is_daemon_alive,
    maps::{MARKS, USER_HANDSHAKES, USERS, WAITING},
    net::{IPPROTO_TCP, TCP_SYN_RECV},
    netns,
    packet::{self, Segment},
    passage::Passage,
};

const NS_PER_S: u64 = 1_000_000_000;

/// Whether users decide, or did until recently.
#[inline(always)]
pub(crate) fn do_count() -> bool {
    USERS.get(0).is_some_and(|users| *users != 0)
}

/// Removes the state of an older handshake of the same flow.
#[inline(always)]
pub(crate) fn forget(flow: &FlowKey) {
    USER_HANDSHAKES.remove(flow);
}

/// Lets a handshake go on whose connection will wait, unless its packet has data. Also if the last ACK has data,
/// the handshake is remembered: user space may send that ACK without the data.
#[inline(always)]
pub(crate) fn go_on(flow: &FlowKey, pending: &Pending, is_syn: bool, has_data: bool) -> Passage {
    if has_data {
        count(if is_syn { Counter::UserSyns } else { Counter::UserSegments });
        if !is_syn {
            // If it does not fit, the retransmitted SYN-ACK makes the client send its ACK again.
            USER_HANDSHAKES.set(flow, pending);
        }
        return Passage::Drop;
    }
    // If it does not fit, the connection's socket would not be marked: the client has to try again.
    if USER_HANDSHAKES.set(flow, pending) { Passage::Pass } else { Passage::Drop }
}

/// sock_ops: the socket of a connection was made. Marks it if the connection has to wait.
#[inline(always)]
pub(crate) fn accepted(ctx: &SockOpsContext) {
    if ctx.op() != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return;
    }
    let flow = flow(ctx);
    let Some(pending) = USER_HANDSHAKES.get(&flow) else {
        return;
    };
    // SAFETY: the helper takes the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    let kind = if wait(ctx, &flow, &pending, cookie) { Kind::WaitsForUser } else { Kind::NoRoomForUser };
    // From here on the socket's mark has this state.
    USER_HANDSHAKES.remove(&flow);
    emit(
        kind,
        &Report {
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

/// Marks the socket, and enters it; `false` if there is no room.
#[inline(always)]
fn wait(ctx: &SockOpsContext, flow: &FlowKey, pending: &Pending, socket: u64) -> bool {
    let Some(decides) = UserDecides::from_answer(pending.answer) else {
        return false;
    };
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let deadline_ns = now_ns + u64::from(decides.timeout_s) * NS_PER_S + USER_GRACE_NS;
    // SAFETY: the socket is the context's; the verifier asks for the test of null.
    let mark = unsafe {
        let sk = (*ctx.ops).__bindgen_anon_2.sk;
        if sk.is_null() {
            return false;
        }
        let mark = mark_of(sk.cast(), u64::from(BPF_SK_STORAGE_GET_F_CREATE));
        if mark.is_null() {
            return false;
        }
        &mut *mark
    };
    mark.cookie = socket;
    mark.deadline_ns = deadline_ns;
    mark.if_unknown = decides.if_unknown as u32;
    let waiting = Waiting {
        flow: *flow,
        socket,
        pending: *pending,
        since_ns: now_ns,
        deadline_ns,
        refused: 0,
        reserved: 0,
    };
    count(Counter::UserWaits);
    if WAITING.insert(&socket, &waiting, 0).is_ok() {
        return true;
    }
    // The user is unknown: if the connection is then allowed its data pass at once, else never.
    count(Counter::UserNoRoom);
    mark.deadline_ns = 0;
    mark.expired = 1;
    false
}

/// cgroup_skb/ingress: a packet that a socket is about to receive.
#[inline(always)]
pub(crate) fn comes_in(ctx: &SkBuffContext) -> Passage {
    let Some(sk) = full_socket(ctx) else {
        return Passage::Pass;
    };
    // SAFETY: a full socket.
    let mark = unsafe { mark_of(sk.cast(), 0) };
    if !mark.is_null() {
        // SAFETY: not null.
        return unsafe { passage(ctx, sk, &mut *mark) };
    }
    // SAFETY: a full socket.
    if unsafe { (*sk).state } == TCP_SYN_RECV { not_marked_yet(ctx, sk) } else { Passage::Pass }
}

/// cgroup_skb/egress: a packet that a socket sends.
#[inline(always)]
pub(crate) fn goes_out(ctx: &SkBuffContext) -> Passage {
    let Some(sk) = full_socket(ctx) else {
        return Passage::Pass;
    };
    // SAFETY: a full socket.
    let mark = unsafe { mark_of(sk.cast(), 0) };
    if mark.is_null() {
        return Passage::Pass;
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
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
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

/// A packet of a socket that may not be marked yet: another CPU is making it.
#[inline(always)]
fn not_marked_yet(ctx: &SkBuffContext, sk: *mut bpf_sock) -> Passage {
    let mut flow = FlowKey::none(netns::of_tcp(sk), IPPROTO_TCP, 0);
    match packet::segment(ctx, &mut flow) {
        Segment::Empty => Passage::Pass,
        Segment::Data => {
            if USER_HANDSHAKES.has(&flow) {
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
unsafe fn mark_of(sk: *mut c_void, flags: u64) -> *mut Mark {
    // SAFETY: the map is socket storage of `Mark`; a null value means zeroes.
    unsafe { bpf_sk_storage_get(marks(), sk, core::ptr::null_mut(), flags).cast() }
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
