//! Identity of listeners: tags listening sockets, and UDP sockets that were bound to a port, at bind and listen time.
//!
//! In: bind(2) below the cgroup; listen(2), the end of a listener and exec of the whole host; at the start, the
//! open files of all tasks. Out: a provisional tag, from the process name; events that ask user space for the
//! real names; stamps that void certificates.
//! Invariant: a process that user space has tagged a socket for gets no provisional tag on it again. A bind or
//! listen of another process replaces the tag.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_netns_cookie,
        bpf_get_socket_cookie, bpf_sock_from_file, generated::bpf_sk_storage_get,
    },
    programs::{BtfTracePointContext, SockContext},
};
use tcpw_common::{
    certified::{ANY_PORT, change_index},
    event::Kind,
    key::{Comm, FlowKey},
    limits::REPORT_BINDS_NS,
    tag::{BOUND_BEFORE, KERNEL_PORT, PROVISIONAL, Tag, UNPRIVILEGED},
};

use crate::{
    clock::boot_ns,
    emit::{Report, emit},
    kernel_struct::{
        SOCK_FAMILY, SOCK_NUM, SOCK_PROTOCOL, SOCK_TYPE, SOCK_USERLOCKS, SOCK_USERLOCKS_SHIFT, SOCKET_SK,
        TASK_PARENT, TASK_TGID, offset, read,
    },
    maps::{BINDERS, CHANGES, COMMS, HOLDERS, TAGS},
    net::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_LISTEN, is_udp, port},
    netns, udp, unmarked,
};

/// bind(2) named the port. Source: linux/include/net/sock.h.
const SOCK_BINDPORT_LOCK: u8 = 8;

/// The tag of a socket.
#[inline(always)]
pub(crate) fn tag_of(sk: *mut bpf_sock) -> Option<&'static Tag> {
    // SAFETY: `sk` is a full socket; the helper returns null or this socket's tag.
    unsafe { storage(sk.cast(), 0).as_ref() }
}

/// A TCP or UDP socket was bound to an address. Whether it may be.
#[inline(always)]
pub(crate) fn bound(ctx: &SockContext) -> bool {
    // SAFETY: the context's socket is the kernel's; the verifier checks each access.
    let (protocol, kind, port) =
        unsafe { ((*ctx.sock).protocol, (*ctx.sock).type_, port((*ctx.sock).src_port)) };
    let is_datagram = is_udp(protocol, kind);
    if protocol != u32::from(IPPROTO_TCP) && !is_datagram {
        return true;
    }
    if is_datagram {
        // SAFETY: the context's socket, which bind(2) has locked; null is tested.
        let Some(tag) = (unsafe { storage(ctx.sock.cast(), BPF_SK_STORAGE_GET_F_CREATE.into()).as_mut() })
        else {
            // The socket's option memory is full: its datagrams would not be judged.
            return false;
        };
        if udp::is_port_of_kernel(ctx.sock) {
            tag.flags |= KERNEL_PORT;
            return true;
        }
        tag.flags &= !KERNEL_PORT;
    }
    // SAFETY: both helpers take the context, which is the socket.
    let (netns, cookie) =
        unsafe { (bpf_get_netns_cookie(ctx.as_ptr()), bpf_get_socket_cookie(ctx.as_ptr())) };
    tag_and_report(ctx.sock.cast(), &Bound { netns, cookie, port, is_datagram });
    true
}

/// A UDP socket asks for a port. It may be found there before bind(2) ends: until then its names are not known.
/// False if it cannot be marked.
#[inline(always)]
pub(crate) fn mark_before_bind(sk: *mut bpf_sock, netns: u64) -> bool {
    // SAFETY: the context's socket; null is tested.
    let Some(tag) = (unsafe { storage(sk.cast(), BPF_SK_STORAGE_GET_F_CREATE.into()).as_mut() }) else {
        return false;
    };
    if tag.pid == 0 && tag.flags == 0 {
        tag.netns = netns;
        tag.flags = PROVISIONAL | UNPRIVILEGED;
    }
    true
}

/// A socket changed state: `inet_sock_set_state(sk, old, new)`.
#[inline(always)]
pub(crate) fn state_changed(ctx: &BtfTracePointContext) {
    let (old, new): (u32, u32) = (ctx.arg(1), ctx.arg(2));
    // A connection begins as a copy of its listener, so it leaves TCP_LISTEN too. Only a listener goes from there
    // to TCP_CLOSE.
    let ends = old == TCP_LISTEN && new == TCP_CLOSE;
    // The tracepoint's first argument is a struct sock.
    if new == TCP_LISTEN {
        listens(ctx.arg(0));
    } else if ends {
        listen_ends(ctx.arg(0));
    }
}

/// A socket, a `struct sock`, is about to listen: it cannot be found yet.
#[inline(always)]
pub(crate) fn listens(sk: *const c_void) {
    let Some((netns, port)) = void_certificates_of(sk) else {
        return;
    };
    tag_and_report(sk.cast_mut(), &Bound { netns, cookie: 0, port, is_datagram: false });
}

/// A socket, a `struct sock`, listens no more.
#[inline(always)]
pub(crate) fn listen_ends(sk: *const c_void) {
    void_certificates_of(sk);
}

/// Voids the certificates of a socket's port: its namespace and port. The stamp is set before a new socket can be found,
/// so the certificate of an earlier listener refuses no client of this one.
#[inline(always)]
fn void_certificates_of(sk: *const c_void) -> Option<(u64, u16)> {
    if offset(&SOCK_NUM) == 0 {
        return None;
    }
    // SAFETY: a struct sock that the verifier knows; offsets come from this kernel's BTF.
    let (netns, port) = unsafe { (netns::of_sock(sk), read::<u16>(sk, offset(&SOCK_NUM))) };
    void_certificates(netns, IPPROTO_TCP, port.into());
    void_certificates(netns, IPPROTO_TCP, ANY_PORT);
    Some((netns, port))
}

/// Voids the certificates of a port, or of the whole namespace if the port is not chosen yet.
#[inline(always)]
pub(crate) fn void_certificates(netns: u64, protocol: u16, port: u32) {
    let stamp = boot_ns();
    if let Some(change) = CHANGES.get_ptr_mut(change_index(netns, protocol, port)) {
        // SAFETY: the pointer is into the map and aligned; one store, whole.
        unsafe { change.write_volatile(stamp) };
    }
}

/// A process executed another program: `sched_process_exec(task, old_pid, bprm)`. Sockets that
/// it or its parent listens on may be the program's from here on.
#[inline(always)]
pub(crate) fn executed(ctx: &BtfTracePointContext) {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if offset(&TASK_PARENT) == 0 || offset(&TASK_TGID) == 0 {
        return;
    }
    // SAFETY: the tracepoint's first argument is a task_struct; offsets come from this kernel's BTF.
    let parent: u32 = unsafe {
        let task: *const c_void = ctx.arg(0);
        let parent: *const c_void = read(task, offset(&TASK_PARENT));
        if parent.is_null() { 0 } else { read(parent, offset(&TASK_TGID)) }
    };
    // SAFETY: only tested for presence.
    let is_holder = unsafe { HOLDERS.get(&pid).is_some() || HOLDERS.get(&parent).is_some() };
    if is_holder {
        emit(
            Kind::Executed,
            &Report {
                time_ns: boot_ns(),
                tag: &Tag { names: 0, netns: 0, pid, flags: 0 },
                cookie: 0,
                flow: &FlowKey::none(0, 0, 0),
                family: 0,
                ifindex: 0,
                generation: 0,
                policy: 0,
                comm: &[0; 16],
            },
        );
    }
}

/// Where a socket was bound.
struct Bound {
    netns: u64,
    cookie: u64,
    port: u16,
    is_datagram: bool,
}

/// Tags a socket by the name of the current process and reports it.
#[inline(always)]
fn tag_and_report(sk: *mut c_void, bound: &Bound) {
    let comm: Comm = bpf_get_current_comm().unwrap_or_default();
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: `sk` is a socket the program type may keep storage on; null is tested.
    let Some(tag) = (unsafe { storage(sk, BPF_SK_STORAGE_GET_F_CREATE.into()).as_mut() }) else {
        return;
    };
    if tag.pid != pid {
        // SAFETY: the value is copied at once.
        tag.names = unsafe { COMMS.get(&comm) }.copied().unwrap_or(0);
        tag.pid = pid;
        // User ids of the host, whatever the user namespace.
        let is_root = bpf_get_current_uid_gid() & 0xffff_ffff == 0;
        tag.flags = if is_root { PROVISIONAL } else { PROVISIONAL | UNPRIVILEGED };
    }
    tag.netns = bound.netns;
    if bound.is_datagram && !is_report_due(pid) {
        return;
    }
    // The process may execute another program before the next scan. If the map is full, a later scan corrects the
    // names.
    let _ = HOLDERS.insert(&pid, &0, 0);
    emit(
        Kind::Listening,
        &Report {
            time_ns: boot_ns(),
            tag,
            cookie: bound.cookie,
            flow: &FlowKey::none(
                bound.netns,
                if bound.is_datagram { IPPROTO_UDP } else { IPPROTO_TCP },
                bound.port,
            ),
            family: 0,
            ifindex: 0,
            generation: 0,
            policy: 0,
            comm: &comm,
        },
    );
}

/// Whether the process's last bind of a UDP socket was reported long ago; remembers this one.
/// A resolver binds a socket for each query.
#[inline(always)]
fn is_report_due(pid: u32) -> bool {
    let now = boot_ns();
    // SAFETY: the value is copied at once.
    if unsafe { BINDERS.get(&pid) }.is_some_and(|before| now < before + REPORT_BINDS_NS) {
        return false;
    }
    // If the map is full, the next bind is reported too.
    let _ = BINDERS.insert(&pid, &now, 0);
    true
}

/// An open file of a task (iter/task_file): marks UDP sockets that were bound before the programs ran.
#[inline(always)]
pub(crate) fn mark_bound_before(ctx: *const c_void) {
    if offset(&SOCKET_SK) == 0 || offset(&SOCK_NUM) == 0 || offset(&SOCK_USERLOCKS) == 0 {
        return;
    }
    // SAFETY: members of `struct bpf_iter__task_file` and of what it points to; offsets come from
    // this kernel's BTF, null is tested.
    unsafe {
        let task: *const c_void = read(ctx, 8);
        let file: *mut c_void = read(ctx, 24);
        if task.is_null() || file.is_null() {
            return;
        }
        let socket: *const c_void = bpf_sock_from_file(file.cast()).cast();
        if socket.is_null() {
            return;
        }
        let sk: *const c_void = read(socket, offset(&SOCKET_SK));
        if sk.is_null() {
            return;
        }
        let family: u16 = read(sk, offset(&SOCK_FAMILY));
        let protocol: u16 = read(sk, offset(&SOCK_PROTOCOL));
        let kind: u16 = read(sk, offset(&SOCK_TYPE));
        let port: u16 = read(sk, offset(&SOCK_NUM));
        if (u32::from(family) != AF_INET && u32::from(family) != AF_INET6)
            || !is_udp(protocol.into(), kind.into())
            || port == 0
        {
            return;
        }
        let locks: u8 = read(sk, offset(&SOCK_USERLOCKS));
        if (locks >> (offset(&SOCK_USERLOCKS_SHIFT) & 7)) & SOCK_BINDPORT_LOCK == 0 {
            return;
        }
        let netns = netns::of_sock(sk);
        let pid: u32 = read(task, offset(&TASK_TGID));
        let mark = Tag { names: 0, netns, pid, flags: PROVISIONAL | BOUND_BEFORE };
        match storage(sk.cast_mut(), BPF_SK_STORAGE_GET_F_CREATE.into()).as_mut() {
            Some(tag) if tag.pid == 0 && tag.flags == 0 => *tag = mark,
            Some(_) => {}
            // Its option memory is full.
            None => unmarked::note(sk.cast_mut(), &mark),
        }
    }
}

/// The socket's storage, or null.
///
/// # Safety
/// `sk` must be a socket pointer the verifier knows.
#[inline(always)]
pub(crate) unsafe fn storage(sk: *mut c_void, flags: u64) -> *mut Tag {
    let map = (&raw const TAGS).cast_mut().cast::<c_void>();
    // SAFETY: the map is socket storage of `Tag`; a null value means zeroes.
    unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags).cast() }
}
