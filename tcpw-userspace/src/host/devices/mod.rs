//! Network devices of this process's namespace: what the early drop must know of them.
//!
//! In: names of devices. Out: each with what speaks against dropping there; the local addresses; whether packets are
//! translated. Invariant: what cannot be found out is an error, never "no".
//! Source: rtnetlink(7), netdevice(7); linux/Documentation/networking/ip-sysctl.rst.

mod translation;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    ops::ControlFlow,
    os::fd::{AsRawFd as _, OwnedFd},
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage},
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::netlink::{dump, get};
use translation::translates;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its interface index.
    pub index: u32,
    /// Its Ethernet address; `None` if it is no Ethernet device.
    pub ethernet: Option<[u8; 6]>,
    /// It is the loopback device.
    pub is_loopback: bool,
    /// It is part of a bridge, bond or VRF.
    pub has_master: bool,
    /// It forwards packets.
    pub forwards: bool,
    /// VLAN tags are still in the frames that XDP sees.
    pub shows_tags: bool,
}

/// Where frames for this host arrive at a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAddress {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Its Ethernet address.
    pub ethernet: [u8; 6],
}

/// Devices and addresses of a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The devices that were asked for, those that exist.
    pub devices: BTreeMap<String, Device>,
    /// Every local address of the namespace that packets are received for.
    pub addresses: BTreeSet<IpAddr>,
    /// There is a rule that may give packets another destination (NAT).
    pub translates: bool,
}

impl Network {
    /// Looks at the namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn look(names: &[String]) -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        let mut devices = BTreeMap::new();
        for name in names {
            if let Some(device) = device(&socket, name)? {
                devices.insert(name.clone(), device);
            }
        }
        // Without a device nothing else matters.
        if devices.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { devices, addresses: addresses(&socket)?, translates: translates()? })
    }
}

/// Whether it can be the name of a device. Source: linux/net/core/dev.c, `dev_valid_name`.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    let is_bad = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && name != "."
        && name != ".."
        && !name.bytes().any(is_bad)
}

fn device(socket: &Socket, name: &str) -> io::Result<Option<Device>> {
    let mut wanted = LinkMessage::default();
    wanted.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mut found = None;
    let asked = get(socket, RouteNetlinkMessage::GetLink(wanted), |message| {
        if let RouteNetlinkMessage::NewLink(link) = message {
            found = Some(link);
        }
    });
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        other => other?,
    }
    let Some(link) = found else { return Ok(None) };
    let mut ethernet = None;
    for attribute in &link.attributes {
        if let LinkAttribute::Address(bytes) = attribute {
            ethernet = <[u8; 6]>::try_from(bytes.as_slice()).ok();
        }
    }
    let mut kinds = Vec::new();
    for attribute in &link.attributes {
        if let LinkAttribute::LinkInfo(info) = attribute {
            kinds.extend(info.iter().filter(|it| matches!(it, LinkInfo::Kind(_))));
        }
    }
    let may_show_tags =
        kinds.iter().all(|kind| matches!(kind, LinkInfo::Kind(InfoKind::Tun | InfoKind::Vlan)));
    let is_ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    Ok(Some(Device {
        index: link.header.index,
        ethernet: ethernet.filter(|_| is_ethernet),
        is_loopback: link.header.link_layer_type == LinkLayerType::Loopback,
        has_master: link
            .attributes
            .iter()
            .any(|it| matches!(it, LinkAttribute::Controller(index) if *index != 0)),
        forwards: forwards(name)?,
        // At a veth, bridge, bond or macvlan a VLAN tag is not among the frame's bytes, whatever its settings. A bond gives
        // its program to its parts, too.
        shows_tags: may_show_tags && !takes_tags_off(name)?,
    }))
}

/// Whether packets that come in at the device may be forwarded.
fn forwards(name: &str) -> io::Result<bool> {
    let v6 = "/proc/sys/net/ipv6/conf";
    let settings = [
        format!("/proc/sys/net/ipv4/conf/{name}/forwarding"),
        format!("{v6}/all/forwarding"),
        format!("{v6}/{name}/forwarding"),
        // Linux 6.17.
        format!("{v6}/{name}/force_forwarding"),
    ];
    for setting in settings {
        match fs::read_to_string(&setting) {
            Ok(value) if value.trim() == "0" => {}
            Ok(_) => return Ok(true),
            // The kernel is older, or has no such protocol.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether the device takes VLAN tags off (ethtool's rx-vlan-offload). Source: linux/include/uapi/linux/ethtool.h.
fn takes_tags_off(name: &str) -> io::Result<bool> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    /// `struct ifreq`, with its `ifr_data` member.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut Value,
        rest: [u64; 2],
    }
    let socket: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io::Error::from)?;
    let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: &raw mut value, rest: [0; 2] };
    // The last byte stays 0: `is_device_name` has bounded its length.
    for (to, from) in request.name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from;
    }
    // SAFETY: the request and the value it points to live until the call returns; the kernel writes no more than
    // these.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if done == 0 {
        return Ok(value.data & ETH_FLAG_RXVLAN != 0);
    }
    match io::Error::last_os_error() {
        // A driver without such settings takes nothing off.
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        error => Err(error),
    }
}

/// Every local address that packets are received for.
fn addresses(socket: &Socket) -> io::Result<BTreeSet<IpAddr>> {
    let mut all = BTreeSet::new();
    let not_yet = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    dump(socket, request, |message| {
        let RouteNetlinkMessage::NewAddress(found) = message else { return ControlFlow::Continue(()) };
        if found.header.flags.intersects(not_yet) {
            return ControlFlow::Continue(());
        }
        let (mut own, mut of_prefix) = (None, None);
        for attribute in &found.attributes {
            if let AddressAttribute::Local(address) = attribute {
                own = Some(*address);
            } else if let AddressAttribute::Address(address) = attribute {
                of_prefix = Some(*address);
            }
        }
        // Of IPv6 only point-to-point devices have a local address of its own.
        all.extend(own.or(of_prefix).filter(|address| !address.is_loopback()));
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_seen_as_what_it_is() -> io::Result<()> {
        let network = Network::look(&["lo".into(), "no-such-device".into()])?;
        assert_eq!(network.devices.keys().collect::<Vec<_>>(), ["lo"]);
        let lo = &network.devices["lo"];
        assert!(lo.is_loopback && lo.ethernet.is_none() && !lo.has_master, "{lo:?}");
        assert!(network.addresses.iter().all(|address| !address.is_loopback()), "{:?}", network.addresses);
        assert_eq!(Network::look(&["no-such-device".into()])?, Network::default());
        Ok(())
    }

    #[test]
    fn names_of_devices_are_told_from_paths() {
        for name in ["eth0", "eth0.10", "a23456789012345"] {
            assert!(is_device_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "a b", "a234567890123456"] {
            assert!(!is_device_name(name), "{name}");
        }
    }
}
