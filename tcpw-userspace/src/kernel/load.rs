//! Loads the BPF object: fresh, or onto the maps an earlier process pinned.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, maps::Map};

use super::{
    answers::AnswerMaps,
    banners::BannerMaps,
    bans::BanMap,
    btf::KernelTypes,
    counters::CounterMap,
    early::EarlyDrop,
    layout,
    links::Links,
    loader::Loader,
    maps::pinned,
    offsets::Offsets,
    on_link::OnLinkMap,
    pins::Pins,
    programs::Hook,
    redirect::RedirectMap,
    resets::Resets,
    seen,
    slots::Slots,
    tags::{TagReader, Tags},
    users::UserMaps,
};

pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tcpw.bpf.o"));

/// The kernel's BTF.
pub(super) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What to load.
#[derive(Debug, Default)]
pub struct LoadOptions<'a> {
    /// Pin directory; `None` ends enforcement with the process.
    pub pins: Option<&'a Pins>,
    /// Report accepted connections.
    pub log_allowed: bool,
    /// Keep the state that resets need.
    pub resets: bool,
    /// Failures to act out, for tests: bits of [`tcpw_common::fault`].
    pub faults: u32,
}

/// The loaded programs, and parts that each own the maps of one purpose.
pub struct Kernel {
    /// The policy in force.
    pub slots: Slots,
    /// Answers of user space.
    pub answers: AnswerMaps,
    /// Tags of listeners.
    pub tags: Tags,
    /// Networks on the links of interfaces.
    pub on_link: OnLinkMap,
    /// Connections that wait for their client's user.
    pub users: UserMaps,
    /// Bans.
    pub bans: BanMap,
    /// Banners of allowed clients.
    pub banners: BannerMaps,
    /// The redirect listeners.
    pub redirect: RedirectMap,
    /// The certified places, once [`Kernel::start_resets`] has begun.
    pub resets: Option<Resets>,
    /// The devices at which SYNs are dropped.
    pub early: EarlyDrop,
    /// The counters.
    pub counters: CounterMap,
    pub(super) loader: Option<Loader>,
    pub(super) ebpf: Ebpf,
    pub(super) links: Links,
    pub(super) log_allowed: bool,
    /// The kernel's BTF says where a socket's network namespace is.
    pub(super) knows_namespaces: bool,
    /// The kernel stamps each listener that comes or goes.
    pub(super) sees_listeners: bool,
}

impl Kernel {
    /// Loads the object; attaches nothing.
    ///
    /// # Errors
    /// No BTF, no permission, or a map the kernel refuses; a program the kernel refuses is no error here.
    pub fn load(options: &LoadOptions<'_>) -> Result<Self> {
        raise_memlock();
        let offsets = Offsets::read(Path::new(KERNEL_BTF)).context("read the kernel's BTF")?;
        let btf = KernelTypes::read()?;
        let log_allowed = u32::from(options.log_allowed);
        let resets_on = u32::from(options.resets);
        let mut loader = EbpfLoader::new();
        loader
            .override_global("LOG_ALLOWED", &log_allowed, true)
            .override_global("RESETS_ON", &resets_on, true)
            .override_global("FAULTS", &options.faults, true)
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
            for name in pinned() {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let ebpf = loader.load(OBJECT).context("load the BPF object")?;
        seen::make_numbers(&ebpf)?;
        let pins = options.pins.cloned();
        let links = Links::new(btf, pins.clone());
        Ok(Self {
            slots: Slots::open(&ebpf)?,
            answers: AnswerMaps::open(&ebpf)?,
            tags: Tags::open(&ebpf)?,
            on_link: OnLinkMap::open(&ebpf)?,
            users: UserMaps::open(&ebpf, |hook| links.is_pinned(hook))?,
            bans: BanMap::open(&ebpf)?,
            banners: BannerMaps::open(&ebpf)?,
            redirect: RedirectMap::open(&ebpf)?,
            resets: None,
            early: EarlyDrop::open(&ebpf)?,
            counters: CounterMap::open(&ebpf)?,
            loader: Some(Loader::open(&ebpf, pins)?),
            ebpf,
            links,
            log_allowed: options.log_allowed,
            knows_namespaces: offsets.sock_num != 0 && offsets.sock_net != 0 && offsets.net_cookie != 0,
            // Set once the tracepoint is attached.
            sees_listeners: false,
        })
    }

    /// The programs of a start are loaded: the kernel's types are freed.
    pub fn forget_types(&mut self) {
        // This one is loaded when it is called; what fails is tried again, and told, then.
        if let Err(error) = Hook::OpenFiles.load(&mut self.ebpf, &self.links.btf) {
            log::debug!("{error:#}");
        }
        self.links.btf.forget();
    }

    /// Reads tags, in any thread.
    ///
    /// # Errors
    /// None so far.
    pub fn tag_reader(&self) -> Result<TagReader> {
        Ok(self.tags.reader())
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
