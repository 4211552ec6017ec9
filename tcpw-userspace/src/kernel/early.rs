//! The early drop: its programs at the devices, and what they must know.
//!
//! In: devices, local addresses, certified places. Out: a link for each device, held by this process; an entry for each
//! device, address and port at which SYNs may be dropped.
//! Invariant: a link is never pinned: the addresses are right only while a process keeps them so. Before a device
//! has a link its entries are written; after its link is gone they are removed.

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
    certified::{Certified, CertifiedKey, MAY_DROP_EARLY},
    early::{EarlyKey, EarlyPlace},
    key::{Address, mapped},
    limits::MAX_EARLY_PLACES,
};

use super::{
    btf::KernelTypes,
    load::Kernel,
    maps::open,
    programs::Hook,
    resets::{Resets, place_at},
    sys::{self, DeviceHook},
};
use crate::host::DeviceAddress;

const TCP: u16 = 6;

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

/// The devices, and the map of the programs.
pub struct EarlyDrop {
    devices: BTreeMap<u32, DeviceAddress>,
    addresses: BTreeSet<Address>,
    places: HashMap<MapData, EarlyKey, EarlyPlace>,
    /// What is in `places`.
    written: BTreeMap<EarlyKey, EarlyPlace>,
    /// It was said that there are too many places.
    is_beyond: bool,
    links: BTreeMap<u32, (EarlyMode, OwnedFd)>,
}

impl EarlyDrop {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            devices: BTreeMap::new(),
            addresses: BTreeSet::new(),
            places: open(ebpf, "EARLY_PLACES")?,
            written: BTreeMap::new(),
            is_beyond: false,
            links: BTreeMap::new(),
        })
    }

    /// Writes the entries that follow from the devices, addresses and certified places, and removes all others. What the
    /// kernel refuses does not keep the rest from being written.
    fn write(&mut self, certified: &BTreeMap<CertifiedKey, Certified>) -> Result<()> {
        let (wanted, is_beyond) = wanted(&self.devices, &self.addresses, certified, MOST);
        let mut failed = Ok(());
        for gone in self.written.keys().filter(|key| !wanted.contains_key(key)).copied().collect::<Vec<_>>() {
            match self.places.remove(&gone) {
                Ok(()) | Err(MapError::KeyNotFound) => _ = self.written.remove(&gone),
                Err(error) => failed = Err(error).context("forget a place of early-drop"),
            }
        }
        for (key, place) in wanted {
            if self.written.get(&key) == Some(&place) {
                continue;
            }
            match self.places.insert(key, place, 0) {
                Ok(()) => _ = self.written.insert(key, place),
                Err(error) => failed = Err(error).context("tell a place of early-drop"),
            }
        }
        if is_beyond && !self.is_beyond {
            log::warn!(
                "early-drop: there are more than {MOST} places (a device with a local address and a port): SYNs to the others \
                 pass to the gate"
            );
        }
        self.is_beyond = is_beyond;
        failed
    }

    /// How many places are in the map.
    #[must_use]
    pub fn places(&self) -> usize {
        self.written.len()
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

/// Most places.
const MOST: usize = MAX_EARLY_PLACES as usize;

/// The places of each device at which SYNs may be dropped, at most so many, those of the first devices and addresses; and
/// whether there are more.
fn wanted(
    devices: &BTreeMap<u32, DeviceAddress>,
    addresses: &BTreeSet<Address>,
    certified: &BTreeMap<CertifiedKey, Certified>,
    most: usize,
) -> (BTreeMap<EarlyKey, EarlyPlace>, bool) {
    let mut wanted = BTreeMap::new();
    for (&ifindex, &DeviceAddress { netns, ethernet }) in devices {
        let of_netns = certified.iter().filter(|(key, _)| key.netns == netns && key.protocol == TCP);
        let may_drop = of_netns.filter(|(_, certified)| certified.flags & MAY_DROP_EARLY != 0);
        let ports: BTreeSet<u16> = may_drop.map(|(key, _)| key.port).collect();
        for (&local, &port) in addresses.iter().flat_map(|local| ports.iter().map(move |port| (local, port)))
        {
            let place = CertifiedKey { netns, local, port, protocol: TCP, reserved: 0 };
            let certified = place_at(certified, place).map(|(_, certified)| *certified);
            let Some(certified) = certified.filter(|it| it.flags & MAY_DROP_EARLY != 0) else { continue };
            if wanted.len() == most {
                return (wanted, true);
            }
            let key = EarlyKey { ifindex, port, reserved: 0, local };
            wanted.insert(key, EarlyPlace { certified, netns, ethernet, reserved: 0 });
        }
    }
    (wanted, false)
}

impl Kernel {
    /// Something else is certified in a network namespace.
    ///
    /// # Errors
    /// The kernel refuses a write: SYNs to a place that is missing pass.
    pub fn follow_certified(&mut self, netns: u64) -> Result<()> {
        let is_seen = self.early.devices.values().any(|device| device.netns == netns);
        if is_seen { self.write_early_places() } else { Ok(()) }
    }

    fn write_early_places(&mut self) -> Result<()> {
        let none = BTreeMap::new();
        self.early.write(self.resets.as_ref().map_or(&none, Resets::all_certified))
    }

    /// These are the local addresses, and no others.
    ///
    /// # Errors
    /// As [`Self::follow_certified`].
    pub fn set_early_addresses(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<()> {
        self.early.addresses = addresses.iter().copied().map(key).collect();
        self.write_early_places()
    }

    /// Ends dropping at a device.
    ///
    /// # Errors
    /// The kernel refuses to.
    pub fn end_early_drop(&mut self, index: u32) -> Result<()> {
        drop(self.early.links.remove(&index));
        self.early.devices.remove(&index);
        self.write_early_places()
    }

    /// Begins to drop at a device of this process's network namespace; with XDP only if that sees every VLAN tag. At a
    /// device that has its program already, that is told what the device is like now.
    ///
    /// # Errors
    /// The kernel refuses every way: why.
    pub fn drop_early(&mut self, index: u32, device: DeviceAddress, shows_tags: bool) -> Result<EarlyMode> {
        self.early.devices.insert(index, device);
        self.write_early_places()?;
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
        self.end_early_drop(index)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_of_a_device_and_an_address_and_the_entry_of_one_address_hides_that_of_all() {
        let [one, other, v6] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(|ip| key(ip.parse().unwrap()));
        let certified = |local, port, netns, flags| {
            let key = CertifiedKey { netns, local, port, protocol: TCP, reserved: 0 };
            let at = Certified {
                names: port.into(),
                cookie: 0,
                port_stamp: 0,
                netns_stamp: 0,
                pid: 0,
                family: 2,
                flags,
                reserved: 0,
            };
            (key, at)
        };
        let any = mapped([0; 4]);
        let all = BTreeMap::from([
            certified(any, 22, 5, MAY_DROP_EARLY),
            certified(other, 22, 5, 0),
            certified(one, 80, 5, MAY_DROP_EARLY),
            certified([0; 16], 443, 5, MAY_DROP_EARLY),
            certified(any, 25, 6, MAY_DROP_EARLY),
        ]);
        let devices = BTreeMap::from([(7, DeviceAddress { netns: 5, ethernet: [2, 0, 0, 0, 0, 1] })]);
        let addresses = [one, other, v6].into();
        let found = |most| {
            let (places, is_beyond) = wanted(&devices, &addresses, &all, most);
            let places: Vec<_> =
                places.iter().map(|(key, place)| (key.ifindex, key.local, place.certified.names)).collect();
            (places, is_beyond)
        };
        assert_eq!(found(9), (vec![(7, one, 22), (7, one, 80), (7, v6, 443)], false));
        assert_eq!(found(3), found(9), "exactly as many as fit");
        let (first, is_beyond) = found(2);
        assert!(is_beyond && first.len() == 2, "{first:?}");
        assert!(wanted(&BTreeMap::new(), &addresses, &all, 9).0.is_empty());
    }
}
