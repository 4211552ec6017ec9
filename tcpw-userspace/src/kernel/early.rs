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

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use tcpw_common::{
    certified::{Certified, CertifiedKey, MAY_DROP_EARLY},
    early::{EarlyDevice, EarlyKey, EarlyPlace},
    key::{Address, as_v4, mapped},
    limits::MAX_EARLY_PLACES,
};

use super::{
    btf::KernelTypes,
    load::Kernel,
    maps::open,
    programs::Hook,
    resets::Resets,
    sys::{self, DeviceHook},
};

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

/// The devices, and the maps of the programs.
pub struct EarlyDrop {
    devices: BTreeMap<u32, EarlyDevice>,
    addresses: BTreeSet<Address>,
    places: HashMap<MapData, EarlyKey, EarlyPlace>,
    /// What is in `places`.
    written: BTreeMap<EarlyKey, EarlyPlace>,
    /// How many did not fit, as was said last.
    beyond: usize,
    links: BTreeMap<u32, (EarlyMode, OwnedFd)>,
}

impl EarlyDrop {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            devices: BTreeMap::new(),
            addresses: BTreeSet::new(),
            places: open(ebpf, "EARLY_PLACES")?,
            written: BTreeMap::new(),
            beyond: 0,
            links: BTreeMap::new(),
        })
    }

    /// Writes the entries that follow from the devices, addresses and certified places, and removes all others.
    fn write(&mut self, certified: &BTreeMap<CertifiedKey, Certified>) -> Result<()> {
        let mut wanted = wanted(&self.devices, &self.addresses, certified);
        for gone in self.written.keys().filter(|key| !wanted.contains_key(key)).copied().collect::<Vec<_>>() {
            match self.places.remove(&gone) {
                Ok(()) | Err(MapError::KeyNotFound) => _ = self.written.remove(&gone),
                Err(error) => return Err(error).context("forget a place of early-drop"),
            }
        }
        let most = usize::try_from(MAX_EARLY_PLACES)?;
        let beyond = wanted.len().saturating_sub(most);
        if let Some(first_beyond) = wanted.keys().nth(most).copied() {
            wanted.split_off(&first_beyond);
        }
        for (key, place) in wanted {
            if self.written.get(&key) != Some(&place) {
                self.places.insert(key, place, 0).context("tell a place of early-drop")?;
                self.written.insert(key, place);
            }
        }
        let said = std::mem::replace(&mut self.beyond, beyond);
        ensure!(
            beyond <= said,
            "early-drop: {beyond} pairs of a local address and port are beyond the bound of {MAX_EARLY_PLACES}: SYNs to \
             these pass to the gate"
        );
        Ok(())
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

/// The places of each device at which SYNs may be dropped.
fn wanted(
    devices: &BTreeMap<u32, EarlyDevice>,
    addresses: &BTreeSet<Address>,
    certified: &BTreeMap<CertifiedKey, Certified>,
) -> BTreeMap<EarlyKey, EarlyPlace> {
    let mut wanted = BTreeMap::new();
    for (&ifindex, &EarlyDevice { netns, ethernet }) in devices {
        let at = |local, port| CertifiedKey { netns, local, port, protocol: TCP, reserved: 0 };
        let of_netns = certified.iter().filter(|(key, _)| key.netns == netns && key.protocol == TCP);
        let may_drop = of_netns.filter(|(_, certified)| certified.flags & MAY_DROP_EARLY != 0);
        let ports: BTreeSet<u16> = may_drop.map(|(key, _)| key.port).collect();
        for &local in addresses {
            let any = if as_v4(&local).is_some() { mapped([0; 4]) } else { [0; 16] };
            for &port in &ports {
                // An entry for one address hides that for all.
                let certified = certified.get(&at(local, port)).or_else(|| certified.get(&at(any, port)));
                if let Some(certified) = certified.filter(|it| it.flags & MAY_DROP_EARLY != 0) {
                    let key = EarlyKey { ifindex, port, reserved: 0, local };
                    wanted
                        .insert(key, EarlyPlace { certified: *certified, netns, key, ethernet, reserved: 0 });
                }
            }
        }
    }
    wanted
}

impl Kernel {
    /// Writes what the early drop knows of places; also to be called when something else is certified.
    ///
    /// # Errors
    /// The kernel refuses a write, or there are too many places: SYNs to those that are missing pass.
    pub fn write_early_places(&mut self) -> Result<()> {
        let none = BTreeMap::new();
        self.early.write(self.resets.as_ref().map_or(&none, Resets::all_certified))
    }

    /// These are the local addresses, and no others.
    ///
    /// # Errors
    /// As [`Self::write_early_places`].
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
    pub fn drop_early(&mut self, index: u32, device: EarlyDevice, shows_tags: bool) -> Result<EarlyMode> {
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
        let devices = BTreeMap::from([(7, EarlyDevice { netns: 5, ethernet: [2, 0, 0, 0, 0, 1] })]);
        let found = wanted(&devices, &[one, other, v6].into(), &all);
        let found: Vec<_> =
            found.values().map(|it| (it.key.ifindex, it.key.local, it.certified.names)).collect();
        assert_eq!(found, [(7, one, 22), (7, one, 80), (7, v6, 443)]);
        assert!(wanted(&BTreeMap::new(), &[one].into(), &all).is_empty());
    }
}
