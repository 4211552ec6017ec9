//! bpf(2) calls that aya 0.14 does not have: sized inner maps, batches, link update, programs without an object.
//!
//! Source: linux/include/uapi/linux/bpf.h, `union bpf_attr`.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Attach type BPF_SK_LOOKUP.
const SK_LOOKUP: u32 = 36;

/// Kind of an inner map, with the flags its outer map's template has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InnerKind {
    /// BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC.
    LpmTrie,
    /// BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC.
    Hash,
    /// BPF_MAP_TYPE_ARRAY, BPF_F_INNER_MAP.
    Array,
    /// BPF_MAP_TYPE_ARRAY, BPF_F_INNER_MAP and BPF_F_MMAPABLE.
    Flat,
}

impl InnerKind {
    fn map_type_and_flags(self) -> (u32, u32) {
        match self {
            Self::LpmTrie => (11, 1),
            Self::Hash => (1, 1),
            Self::Array => (2, 1 << 12),
            Self::Flat => (2, 1 << 12 | 1 << 10),
        }
    }
}

/// Creates a map. Sizes in bytes.
pub(super) fn create_map(kind: InnerKind, key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    let (map_type, map_flags) = kind.map_type_and_flags();
    let attr = Attr { map_type, key_size: key, value_size: value, max_entries: entries.max(1), map_flags };
    let fd = bpf(BPF_MAP_CREATE, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes `count` elements, keys and values each packed one after another.
pub(super) fn update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }
    if count == 0 {
        return Ok(());
    }
    let attr = Attr {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_BATCH, &attr).map(drop)
}

/// Ids of the cgroup_skb/ingress programs that are attached to a cgroup itself, at most 64.
pub(super) fn ingress_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
    }
    /// Attach type BPF_CGROUP_INET_INGRESS.
    const CGROUP_INET_INGRESS: u32 = 0;
    let mut ids = vec![0_u32; 64];
    let mut attr = Attr {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_INET_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        padding: 0,
    };
    bpf_writing(BPF_PROG_QUERY, &mut attr)?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// What a program came to that BPF_PROG_TEST_RUN ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct TestRun {
    /// Its return value.
    pub value: u32,
    /// How long it took.
    pub took: Duration,
}

/// Runs a classifier once with a packet.
pub(super) fn run_classifier(program: BorrowedFd<'_>, packet: &[u8]) -> io::Result<TestRun> {
    test_run(program, packet, &[], 0, 0)
}

/// Injects a frame on an interface of the calling thread's network namespace, through an XDP
/// program that passes it.
///
/// Minimum kernel version: 5.18 (BPF_F_TEST_XDP_LIVE_FRAMES).
pub(super) fn receive_frame(program: BorrowedFd<'_>, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, length, 0, ifindex, 0, 0];
    test_run(program, frame, &context, BPF_F_TEST_XDP_LIVE_FRAMES, 1).map(drop)
}

fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    context: &[u32],
    flags: u32,
    batch_size: u32,
) -> io::Result<TestRun> {
    const BPF_PROG_TEST_RUN: libc::c_long = 10;
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
        batch_size: u32,
        reserved: u32,
    }
    let size = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    let mut attr = Attr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        retval: 0,
        data_size_in: size(packet.len())?,
        data_size_out: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
        ctx_size_in: size(size_of_val(context))?,
        ctx_size_out: 0,
        ctx_in: if context.is_empty() { 0 } else { context.as_ptr() as u64 },
        ctx_out: 0,
        flags,
        cpu: 0,
        batch_size,
        reserved: 0,
    };
    bpf_writing(BPF_PROG_TEST_RUN, &mut attr)?;
    Ok(TestRun { value: attr.retval, took: Duration::from_nanos(attr.duration.into()) })
}

/// Opens a pinned map, program or link.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr = Attr { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    let fd = bpf(BPF_OBJ_GET, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a link.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attr =
        Attr { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd().cast_unsigned(), file_flags: 0 };
    bpf(BPF_OBJ_PIN, &attr).map(drop)
}

/// Loads an sk_lookup program.
pub(super) fn load_sk_lookup(instructions: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_TYPE_SK_LOOKUP: u32 = 30;
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let attr = Attr {
        prog_type: BPF_PROG_TYPE_SK_LOOKUP,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"refuse_in_netns\0",
        prog_ifindex: 0,
        expected_attach_type: SK_LOOKUP,
    };
    let fd = bpf(BPF_PROG_LOAD, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches an sk_lookup program to a network namespace; the link does not keep the namespace alive.
pub(super) fn attach_sk_lookup(program: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let attr = Attr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_fd: netns.as_raw_fd().cast_unsigned(),
        attach_type: SK_LOOKUP,
        flags: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A place of a network device where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceHook {
    /// XDP, by the driver.
    XdpNative,
    /// XDP, by the kernel in the driver's place.
    XdpGeneric,
    /// tcx/ingress, behind the programs that are there. Linux 6.6.
    TcxIngress,
}

/// Attaches a program to a network device of the calling thread's network namespace. The link does not keep the device
/// alive.
pub(super) fn attach_device(program: BorrowedFd<'_>, ifindex: u32, hook: DeviceHook) -> io::Result<OwnedFd> {
    const BPF_XDP: u32 = 37;
    const BPF_TCX_INGRESS: u32 = 46;
    const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let (attach_type, flags) = match hook {
        DeviceHook::XdpNative => (BPF_XDP, XDP_FLAGS_DRV_MODE),
        DeviceHook::XdpGeneric => (BPF_XDP, XDP_FLAGS_SKB_MODE),
        DeviceHook::TcxIngress => (BPF_TCX_INGRESS, 0),
    };
    let attr =
        Attr { prog_fd: program.as_raw_fd().cast_unsigned(), target_ifindex: ifindex, attach_type, flags };
    let fd = bpf(BPF_LINK_CREATE, &attr)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces a link's program atomically: no packet goes unjudged.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let attr = Attr {
        link_fd: link.as_raw_fd().cast_unsigned(),
        new_prog_fd: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &attr).map(drop)
}

/// Detaches a link at once, even if other processes hold it. Linux 5.9. A tracing link cannot be detached:
/// it ends with its last descriptor or pin.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
    }
    match bpf(BPF_LINK_DETACH, &Attr { link_fd: link.as_raw_fd().cast_unsigned() }) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        other => other.map(drop),
    }
}

/// Reads one element of a map; `value` is as long as the map's values.
pub(super) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let attr = Attr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &attr).map(drop)
}

/// bpf(2) of a command that only reads its attribute. The kernel zero-extends one shorter than its own.
fn bpf<A>(command: libc::c_long, attr: &A) -> io::Result<i32> {
    // SAFETY: `attr` is a prefix of `union bpf_attr` for this command, its length is passed, and the
    // pointers inside it live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<A>()) };
    returned(result)
}

/// bpf(2) of a command that writes its results into its attribute.
fn bpf_writing<A>(command: libc::c_long, attr: &mut A) -> io::Result<i32> {
    // SAFETY: as for `bpf`, and the kernel writes only fields of the attribute.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) };
    returned(result)
}

fn returned(result: libc::c_long) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// Facts of a link that is attached to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CgroupLink {
    /// Id of the cgroup (the inode number of its directory); 0 if it was removed.
    pub(super) cgroup: u64,
}

/// Asks a cgroup link where it is attached.
pub(super) fn cgroup_link(link: BorrowedFd<'_>) -> io::Result<CgroupLink> {
    /// `struct bpf_link_info`, with its `cgroup` member.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        link_type: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        cgroup_id: u64,
        attach_type: u32,
        reserved_too: u32,
    }
    const _: () = assert!(size_of::<Info>() == 32);
    Ok(CgroupLink { cgroup: link_info::<Info>(link)?.cgroup_id })
}

/// Interface index of the device that an XDP or tcx link is attached to; 0 if it is attached to none any more.
pub(super) fn device_of(link: BorrowedFd<'_>) -> io::Result<u32> {
    /// `struct bpf_link_info`, with its `xdp` or `tcx` member.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        link_type: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        ifindex: u32,
        attach_type: u32,
    }
    const _: () = assert!(size_of::<Info>() == 24);
    Ok(link_info::<Info>(link)?.ifindex)
}

/// Whether the network namespace a link is attached to still exists.
pub(super) fn is_netns_alive(link: BorrowedFd<'_>) -> io::Result<bool> {
    /// `struct bpf_link_info`, with its `netns` member.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        link_type: u32,
        id: u32,
        prog_id: u32,
        reserved: u32,
        netns_ino: u32,
        attach_type: u32,
    }
    const _: () = assert!(size_of::<Info>() == 24);
    Ok(link_info::<Info>(link)?.netns_ino != 0)
}

/// Asks a link for its facts; `T` is a prefix of `struct bpf_link_info`, integers alone.
fn link_info<T: Default>(link: BorrowedFd<'_>) -> io::Result<T> {
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = T::default();
    let attr = Attr {
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<T>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attr)?;
    Ok(info)
}
