//! Who listens: tags listening sockets at bind and listen time.
//!
//! In: a bind(2) or listen(2) below the cgroup. Out: a provisional tag, from the
//! process name, and an event that asks user space for the real names.
//! Invariant: a tag written by user space is never overwritten by a provisional
//! one of the same process.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_netns_cookie,
        bpf_get_socket_cookie, generated::bpf_sk_storage_get,
    },
    programs::{BtfTracePointContext, SockContext},
};
use tcpw_common::{
    event::Kind,
    key::Comm,
    tag::{PROVISIONAL, Tag, UNPRIVILEGED},
};

use crate::{
    emit::{Report, emit},
    maps::{COMMS, HOLDERS, TAGS},
    port::port,
};

const IPPROTO_TCP: u32 = 6;
const TCP_LISTEN: i32 = 10;

/// Byte offsets in the running kernel's structs, set by user space from its BTF.
/// 0 in a sock's offset means unknown: the program then does nothing.
#[unsafe(no_mangle)]
static SOCK_NUM: u32 = 0;
#[unsafe(no_mangle)]
static SOCK_NET: u32 = 0;
#[unsafe(no_mangle)]
static NET_COOKIE: u32 = 0;
#[unsafe(no_mangle)]
static TASK_PARENT: u32 = 0;
#[unsafe(no_mangle)]
static TASK_TGID: u32 = 0;

/// The tag of a socket.
#[inline(always)]
pub(crate) fn tag_of(sk: *mut bpf_sock) -> Option<&'static Tag> {
    // SAFETY: `sk` is a full socket; the helper returns null or this socket's tag.
    unsafe { storage(sk.cast(), 0).as_ref() }
}

/// A TCP socket was bound to an address.
#[inline(always)]
pub(crate) fn bound(ctx: &SockContext) {
    // SAFETY: the context's socket is the kernel's; the verifier checks each access.
    let (protocol, port) = unsafe { ((*ctx.sock).protocol, port((*ctx.sock).src_port)) };
    if protocol != IPPROTO_TCP {
        return;
    }
    // SAFETY: both helpers take the context, which is the socket.
    let (netns, cookie) =
        unsafe { (bpf_get_netns_cookie(ctx.as_ptr()), bpf_get_socket_cookie(ctx.as_ptr())) };
    name(ctx.sock.cast(), netns, cookie, port);
}

/// A socket changed state: `inet_sock_set_state(sk, old, new)`.
#[inline(always)]
pub(crate) fn state_changed(ctx: &BtfTracePointContext) {
    let new: i32 = ctx.arg(2);
    if new != TCP_LISTEN {
        return;
    }
    // SAFETY: the tracepoint's first argument is a struct sock; offsets come from this kernel's BTF.
    unsafe {
        let sk: *const c_void = ctx.arg(0);
        if offset(&SOCK_NUM) == 0 {
            return;
        }
        let port: u16 = read(sk, offset(&SOCK_NUM));
        let net: *const c_void = read(sk, offset(&SOCK_NET));
        let netns = if net.is_null() { 0 } else { read(net, offset(&NET_COOKIE)) };
        name(sk.cast_mut(), netns, 0, port);
    }
}

/// A process executes another program: `sched_process_exec(task, old_pid, bprm)`. Sockets that
/// it or its parent listens on may be the program's from here on.
#[inline(always)]
pub(crate) fn executes(ctx: &BtfTracePointContext) {
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
            Kind::Executes,
            &Report {
                tag: &Tag { names: 0, netns: 0, pid, flags: 0 },
                cookie: 0,
                client: &[0; 16],
                server: &[0; 16],
                client_port: 0,
                server_port: 0,
                family: 0,
                ifindex: 0,
                generation: 0,
                policy: 0,
                comm: &[0; 16],
            },
        );
    }
}

/// Tags a socket by the name of the current process and reports it.
#[inline(always)]
fn name(sk: *mut c_void, netns: u64, cookie: u64, port: u16) {
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
    // What it executes next may come before any scan. If it does not fit, a later scan renames.
    let _ = HOLDERS.insert(&pid, &0, 0);
    tag.netns = netns;
    emit(
        Kind::Listening,
        &Report {
            tag,
            cookie,
            client: &[0; 16],
            server: &[0; 16],
            client_port: 0,
            server_port: port,
            family: 0,
            ifindex: 0,
            generation: 0,
            policy: 0,
            comm: &comm,
        },
    );
}

/// The socket's storage, or null.
///
/// # Safety
/// `sk` must be a socket pointer the verifier knows.
#[inline(always)]
unsafe fn storage(sk: *mut c_void, flags: u64) -> *mut Tag {
    let map = (&raw const TAGS).cast_mut().cast::<c_void>();
    // SAFETY: the map is socket storage of `Tag`; a null value means zeroes.
    unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags).cast() }
}

#[inline(always)]
fn offset(global: &'static u32) -> u32 {
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    unsafe { core::ptr::read_volatile(global) }
}

/// # Safety
/// `base + offset` must be a member of type `T` of a kernel struct that the verifier knows.
#[inline(always)]
unsafe fn read<T: Copy>(base: *const c_void, offset: u32) -> T {
    // SAFETY: by the contract of this function; the verifier turns it into a checked probe read.
    unsafe { base.cast::<u8>().add(offset as usize).cast::<T>().read_volatile() }
}
