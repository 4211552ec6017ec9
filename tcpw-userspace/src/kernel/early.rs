//! The early drop: its programs at the devices, and what they must know.
//!
//! In: devices, local addresses. Out: a link for each device, held by this process.
//! Invariant: a link is never pinned: the addresses are right only while a process keeps them so. Before a device
//! has a link its entry and the local addresses are written; after its link is gone its entry is removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use tcpw_common::{
    early::EarlyDevice,
    key::{Address, mapped},
};

use super::{
    btf::KernelTypes,
    load::Kernel,
    maps::open,
    programs::Hook,
    sys::{self, DeviceHook},
};

/// How a device has the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyMode {
    /// XDP, by the driver.
    XdpNative,
    /// XDP, by the kernel in the driver's place.
    XdpGeneric,
    /// tcx.
    Tcx,
}

impl EarlyMode {
    /// The program of each, and where it goes, the fastest first.
    const ALL: [(Self, Hook, DeviceHook); 3] = [
        (Self::XdpNative, Hook::EarlyXdp, DeviceHook::XdpNative),
        (Self::XdpGeneric, Hook::EarlyXdp, DeviceHook::XdpGeneric),
        (Self::Tcx, Hook::EarlyTc, DeviceHook::TcxIngress),
    ];
}

impl fmt::Display for EarlyMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::XdpNative => "XDP, native",
            Self::XdpGeneric => "XDP, generic",
            Self::Tcx => "tcx",
        })
    }
}

/// The devices, and the maps of the programs.
pub struct EarlyDrop {
    devices: HashMap<MapData, u32, EarlyDevice>,
    local: HashMap<MapData, Address, u32>,
    /// What is in `local`.
    addresses: BTreeSet<Address>,
    links: BTreeMap<u32, (EarlyMode, OwnedFd)>,
}

impl EarlyDrop {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            devices: open(ebpf, "EARLY_DEVICES")?,
            local: open(ebpf, "EARLY_LOCAL")?,
            addresses: BTreeSet::new(),
            links: BTreeMap::new(),
        })
    }

    /// These are the local addresses, and no others.
    ///
    /// # Errors
    /// The kernel refuses a write: SYNs to the addresses that are missing pass.
    pub fn set_addresses(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<()> {
        let wanted: BTreeSet<Address> = addresses.iter().copied().map(key).collect();
        for gone in self.addresses.difference(&wanted).copied().collect::<Vec<_>>() {
            self.local.remove(&gone).context("forget a local address")?;
            self.addresses.remove(&gone);
        }
        for new in wanted {
            if !self.addresses.contains(&new) {
                self.local.insert(new, 0, 0).context("tell a local address")?;
                self.addresses.insert(new);
            }
        }
        Ok(())
    }

    /// Ends dropping at a device.
    ///
    /// # Errors
    /// The kernel refuses to.
    pub fn detach(&mut self, index: u32) -> Result<()> {
        drop(self.links.remove(&index));
        match self.devices.remove(&index) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).context("forget a device"),
        }
    }

    /// Devices that have the program. Another process may have taken it off, or the device is gone.
    #[must_use]
    pub fn attached(&self) -> BTreeSet<u32> {
        let is_there =
            |index: &u32, link: &OwnedFd| sys::device_of(link.as_fd()).is_ok_and(|of| of == *index);
        self.links
            .iter()
            .filter(|(index, (_, link))| is_there(index, link))
            .map(|(index, _)| *index)
            .collect()
    }
}

impl Kernel {
    /// Begins to drop at a device of this process's network namespace; with XDP only if that sees every VLAN tag. At a
    /// device that has its program already, that is told what the device is like now.
    ///
    /// # Errors
    /// The kernel refuses every way: why.
    pub fn drop_early(&mut self, index: u32, device: EarlyDevice, shows_tags: bool) -> Result<EarlyMode> {
        self.early.devices.insert(index, device, 0).context("tell a device")?;
        if let Some((mode, _)) = self.early.links.get(&index) {
            return Ok(*mode);
        }
        let mut reasons = Vec::new();
        for (mode, hook, place) in EarlyMode::ALL {
            if !shows_tags && hook == Hook::EarlyXdp {
                continue;
            }
            match attach(&mut self.ebpf, &self.links.btf, hook, index, place) {
                Ok(link) => {
                    self.early.links.insert(index, (mode, link));
                    return Ok(mode);
                }
                Err(error) => reasons.push(format!("{mode}: {error:#}")),
            }
        }
        self.early.detach(index)?;
        bail!("{}", reasons.join("; "))
    }
}

fn attach(ebpf: &mut Ebpf, btf: &KernelTypes, hook: Hook, index: u32, place: DeviceHook) -> Result<OwnedFd> {
    hook.load(ebpf, btf)?;
    let program = hook.get(ebpf)?.fd().context("the program is not loaded")?;
    Ok(sys::attach_device(program.as_fd(), index, place)?)
}

fn key(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}
