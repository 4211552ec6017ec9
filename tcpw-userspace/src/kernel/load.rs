//! Loads the BPF object: fresh, or onto the maps an earlier process pinned.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{Btf, Ebpf, EbpfLoader, maps::Map};

use super::{
    attach::{Attached, Hook},
    layout,
    offsets::Offsets,
    pins::Pins,
    resets::Resets,
    tables::{Outers, Switch},
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tcpw.bpf.o"));

/// The kernel's BTF.
pub(super) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The maps that outlive a process when pinned; all but .rodata, scratch and aya-log's own.
pub(super) const STATE_MAPS: [&str; 51] = [
    "ACTIVE",
    "HEADERS",
    "CLIENTS_V4",
    "CLIENTS_V6",
    "SERVERS_V4",
    "SERVERS_V6",
    "NAMES",
    "PORTS",
    "POLICIES",
    "OUTCOMES",
    "GRACE",
    "TAGS",
    "COMMS",
    "ATTEMPTS",
    "ANSWERS",
    "UDP_ATTEMPTS",
    "ANSWERS_ONCE",
    "RESET_ONCE",
    "HANDSHAKES",
    "EVENTS",
    "COUNTERS",
    "LISTENERS",
    "ALIVE",
    "HOLDERS",
    "HELD",
    "SOURCES",
    "HOLDS",
    "WROTE",
    "HEARD",
    "BINDERS",
    "WATCHING",
    "CERTIFIED",
    "UDP_PORTS",
    "CHANGES",
    "RESET_LIMITS",
    "RESETS",
    "RESET_SOURCES",
    "PASSED",
    "PRESSURE",
    "FLOWS",
    "PLACE",
    "REFUSALS",
    "REDIRECT_LISTEN",
    "USERS",
    "USER_HANDSHAKES",
    "DATA_REPORTED",
    "WAITING",
    "MARKS",
    "BANNERS",
    "BANNER_TEXTS",
    "BANNER_SOCKETS",
];

/// What to load.
#[derive(Debug)]
pub struct LoadOptions<'a> {
    /// Pin directory; `None` ends enforcement with the process.
    pub pins: Option<&'a Pins>,
    /// Report accepted connections.
    pub log_allowed: bool,
    /// Remember what resets need to know.
    pub resets: bool,
}

/// The loaded programs and their maps.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) btf: Btf,
    pub(super) pins: Option<Pins>,
    pub(super) attached: Attached,
    /// Hooks this process wants, whether or not the kernel takes them.
    pub(super) in_use: Vec<Hook>,
    pub(super) outers: Option<Outers>,
    pub(super) switch: Switch,
    pub(super) log_allowed: bool,
    pub(super) offsets_known: bool,
    /// Each listener that comes or goes leaves a stamp.
    pub(super) sees_listeners: bool,
    pub(super) resets: Option<Resets>,
    /// What sockets with a banner send passes by its program.
    pub(super) has_banners: bool,
}

impl Kernel {
    /// Loads the object; attaches nothing.
    ///
    /// # Errors
    /// No BTF, no permission, or a map the kernel refuses; a program the kernel refuses is no error here.
    pub fn load(options: &LoadOptions<'_>) -> Result<Self> {
        raise_memlock();
        let offsets = Offsets::read(Path::new(KERNEL_BTF)).context("read the kernel's BTF")?;
        let btf = Btf::from_sys_fs().context("read the kernel's BTF")?;
        let log_allowed = u32::from(options.log_allowed);
        let resets_on = u32::from(options.resets);
        let mut loader = EbpfLoader::new();
        loader
            .override_global("LOG_ALLOWED", &log_allowed, true)
            .override_global("RESETS_ON", &resets_on, true)
            .override_global("SOCK_NUM", &offsets.sock_num, true)
            .override_global("SOCK_NET", &offsets.sock_net, true)
            .override_global("NET_COOKIE", &offsets.net_cookie, true)
            .override_global("TASK_PARENT", &offsets.task_parent, true)
            .override_global("TASK_TGID", &offsets.task_tgid, true)
            .override_global("SOCKET_SK", &offsets.socket_sk, true)
            .override_global("SOCK_FAMILY", &offsets.sock_family, true)
            .override_global("SOCK_PROTOCOL", &offsets.sock_protocol, true)
            .override_global("SOCK_TYPE", &offsets.sock_type, true)
            .override_global("SOCK_USERLOCKS", &offsets.sock_userlocks, true)
            .override_global("SOCK_USERLOCKS_SHIFT", &offsets.sock_userlocks_shift, true);
        if let Some(pins) = options.pins {
            pins.create()?;
            layout::check(pins)?;
            for name in STATE_MAPS {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut ebpf = loader.load(OBJECT).context("load the BPF object")?;
        let switch = Switch::open(&ebpf)?;
        let outers = Some(Outers::take(&mut ebpf)?);
        Ok(Self {
            ebpf,
            btf,
            pins: options.pins.cloned(),
            attached: Attached::default(),
            in_use: Vec::new(),
            outers,
            switch,
            log_allowed: options.log_allowed,
            offsets_known: offsets.sock_num != 0 && offsets.sock_net != 0 && offsets.net_cookie != 0,
            // Until the tracepoint is attached.
            sees_listeners: false,
            resets: None,
            has_banners: false,
        })
    }
}

/// Takes a map out of the object.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the BPF object has no map {name}"))
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; later ones ignore it.
fn raise_memlock() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: passes a pointer to a live struct.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &unlimited) } != 0 {
        log::debug!("RLIMIT_MEMLOCK stays: {}", std::io::Error::last_os_error());
    }
}
