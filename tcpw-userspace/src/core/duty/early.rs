//! The early drop: at which devices the SYNs of refused clients are dropped before the stack.
//!
//! In: the devices of the settings as they are, each second; which of them have the program. Out: programs to attach
//! and to take off, the local addresses. Invariant: a device has the program only while nothing speaks against it;
//! the program knows the addresses before it is attached. What changes is said once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use tcpw_common::{counter::Counter, metric::Metric};

use crate::{
    core::{action::Action, input::SeenNetwork, outbox::Outbox, shared::SharedState},
    host::{Device, DeviceAddress, Network},
};

/// After a device could not be attached to, or its program was taken off, that is tried again so much later.
const AGAIN: Duration = Duration::from_secs(60);

/// A look at the devices takes no longer.
const LOOK: Duration = Duration::from_secs(3);

/// The devices.
#[derive(Default)]
pub(in crate::core) struct EarlyDrop {
    /// The network namespace of the devices; `None`: nothing is dropped early.
    netns: Option<u64>,
    devices: BTreeMap<String, DeviceState>,
    /// What the programs know.
    addresses: BTreeSet<IpAddr>,
    /// When the look that is under way began.
    looking_since: Option<Instant>,
    /// The kernel's counter as last read.
    unreported: Option<u64>,
}

/// A device of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DeviceState {
    /// It was not looked at yet.
    New,
    /// The program is being attached.
    Begun(Device),
    /// It has the program: how.
    On(Device, String),
    /// It has not: why, and when it is tried again if nothing changes.
    Off { why: String, failed: Option<(Device, Instant)> },
}

impl EarlyDrop {
    /// SYNs to this network namespace may be dropped.
    pub(in crate::core) fn start(&mut self, netns: Option<u64>, shared: &SharedState, out: &mut Outbox) {
        let names = &shared.config.early_drop;
        if netns.is_none() && !names.is_empty() {
            let why =
                if shared.is_audit() { "audit mode refuses nothing" } else { "refusals are not available" };
            out.warn(format!("early-drop has no effect: {why}"));
        } else if shared.config.trust_source_addresses && !names.is_empty() {
            out.warn(
                "trust-source-addresses is set, and early-drop sees SYNs before this host has checked their source: lines \
                 may name addresses that sent nothing"
                    .to_owned(),
            );
        }
        self.netns = netns;
        self.devices =
            names.iter().filter(|_| netns.is_some()).map(|it| (it.clone(), DeviceState::New)).collect();
    }

    /// Looks at the devices; also to be called every second.
    pub(in crate::core) fn look(&mut self, out: &mut Outbox) {
        if self.devices.is_empty() {
            return;
        }
        let Some(since) = self.looking_since else {
            self.looking_since = Some(out.now.at);
            return out.act(Action::LookAtNetwork(self.devices.keys().cloned().collect()));
        };
        // What the programs know may be out of date.
        if out.now.at.saturating_duration_since(since) >= LOOK {
            for (name, state) in &mut self.devices {
                end(name, state, "it is being looked at for too long".into(), None, out);
            }
        }
    }

    /// The devices as they are.
    pub(in crate::core) fn seen(&mut self, seen: Result<SeenNetwork, String>, out: &mut Outbox) {
        self.looking_since = None;
        let (seen, unknown) = match seen {
            Ok(seen) => (seen, None),
            Err(error) => (SeenNetwork::default(), Some(format!("the devices cannot be looked at: {error}"))),
        };
        let mut wanted = Vec::new();
        for (name, state) in &mut self.devices {
            let fit = match &unknown {
                Some(why) => Err(why.clone()),
                None => fit(name, &seen.network),
            };
            match fit {
                Err(why) => end(name, state, why, None, out),
                Ok(device) => {
                    if let DeviceState::On(before, _) = state
                        && !seen.attached.contains(&before.index)
                    {
                        let failed = Some((device.clone(), out.now.at));
                        end(name, state, "its program was taken off".into(), failed, out);
                    }
                    if is_to_begin(state, &device, out) {
                        wanted.push((name.clone(), device));
                    }
                }
            }
        }
        if unknown.is_none() && seen.network.addresses != self.addresses {
            self.addresses = seen.network.addresses;
            out.act(Action::SetEarlyAddresses(self.addresses.clone()));
        }
        for (name, device) in wanted {
            self.begin(name, device, out);
        }
    }

    /// The program is attached to a device: how; or why not.
    pub(in crate::core) fn attached(&mut self, name: String, how: Result<String, String>, out: &mut Outbox) {
        let Some(state) = self.devices.get_mut(&name) else { return };
        let DeviceState::Begun(device) = state else { return };
        let device = device.clone();
        match how {
            Ok(how) => {
                out.info(format!("early-drop: {name}: SYNs of refused clients are dropped by {how}"));
                *state = DeviceState::On(device, how);
            }
            Err(error) => {
                let tags = if device.shows_tags {
                    ""
                } else {
                    "; XDP would not see VLAN tags there (of a network card it does after \"ethtool -K DEVICE rxvlan off\")"
                };
                let why = format!("the kernel refuses the program: {error}{tags}");
                end(&name, state, why, Some((device, out.now.at)), out);
            }
        }
    }

    /// How many more SYNs were dropped without a report of their own since the last call.
    pub(in crate::core) fn unreported(&mut self, counters: &[(Metric, u64)]) -> u64 {
        let name = Counter::EarlyUnreported.metric().name;
        let Some((_, now)) = counters.iter().find(|(metric, _)| metric.name == name) else { return 0 };
        let before = self.unreported.replace(*now).unwrap_or(*now);
        now.saturating_sub(before)
    }

    /// Each device, and how SYNs are dropped there, or why not.
    pub(in crate::core) fn status(&self) -> BTreeMap<String, String> {
        let text = |state: &DeviceState| match state {
            DeviceState::New | DeviceState::Begun(_) => "not yet".to_owned(),
            DeviceState::On(_, how) => how.clone(),
            DeviceState::Off { why, .. } => format!("off: {why}"),
        };
        self.devices.iter().map(|(name, state)| (name.clone(), text(state))).collect()
    }

    fn begin(&mut self, name: String, device: Device, out: &mut Outbox) {
        let (Some(netns), Some(ethernet)) = (self.netns, device.ethernet) else { return };
        let (index, shows_tags) = (device.index, device.shows_tags);
        self.devices.insert(name.clone(), DeviceState::Begun(device));
        let device = DeviceAddress { netns, ethernet };
        out.act(Action::DropEarly { name, index, device, shows_tags });
    }
}

/// The device, if nothing speaks against dropping there.
fn fit(name: &str, network: &Network) -> Result<Device, String> {
    let Some(device) = network.devices.get(name) else { return Err("there is no such device".into()) };
    let against = if device.is_loopback {
        "loopback always passes"
    } else if device.ethernet.is_none() {
        "it is no Ethernet device"
    } else if device.has_master {
        "it is part of a bridge, bond or VRF: name that device"
    } else if device.forwards {
        "it forwards packets for others (net.ipv4.conf and net.ipv6.conf: forwarding)"
    } else if network.translates {
        "NAT may give packets another destination (a nat table at prerouting)"
    } else {
        return Ok(device.clone());
    };
    Err(against.into())
}

/// Whether the program is to be attached, or to be told of a change. It is taken off where it has to be another one.
fn is_to_begin(state: &mut DeviceState, device: &Device, out: &mut Outbox) -> bool {
    match state {
        DeviceState::New => true,
        DeviceState::Begun(_) => false,
        DeviceState::On(before, _) if before == device => false,
        DeviceState::On(before, _) => {
            if before.index != device.index || before.shows_tags != device.shows_tags {
                out.act(Action::EndEarlyDrop { index: before.index });
            }
            true
        }
        DeviceState::Off { failed: Some((before, at)), .. } => {
            before != device || out.now.at.saturating_duration_since(*at) >= AGAIN
        }
        DeviceState::Off { failed: None, .. } => true,
    }
}

/// A device has no program from here on.
fn end(
    name: &str,
    state: &mut DeviceState,
    why: String,
    failed: Option<(Device, Instant)>,
    out: &mut Outbox,
) {
    if let DeviceState::On(device, _) | DeviceState::Begun(device) = state {
        out.act(Action::EndEarlyDrop { index: device.index });
    }
    if !matches!(state, DeviceState::Off { why: before, .. } if *before == why) {
        out.warn(format!("early-drop: {name}: nothing is dropped there: {why}"));
    }
    *state = DeviceState::Off { why, failed };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{input::Now, tests::now};

    const ETHERNET: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn device() -> Device {
        Device {
            index: 7,
            ethernet: Some(ETHERNET),
            is_loopback: false,
            has_master: false,
            forwards: false,
            shows_tags: true,
        }
    }

    fn early() -> EarlyDrop {
        let devices = [("eth0".to_owned(), DeviceState::New)].into();
        EarlyDrop { netns: Some(5), devices, ..EarlyDrop::default() }
    }

    /// What is done about a look at the network, so much later.
    fn look(early: &mut EarlyDrop, network: Network, attached: &[u32], after: Duration) -> Vec<Action> {
        let mut out = Outbox::new(Now { at: now().at + after, ..now() });
        let attached = attached.iter().copied().collect();
        early.seen(Ok(SeenNetwork { network, attached }), &mut out);
        out.actions
    }

    fn network(device: Device) -> Network {
        Network {
            devices: [("eth0".to_owned(), device)].into(),
            addresses: ["192.0.2.1".parse().unwrap()].into(),
            translates: false,
        }
    }

    fn on() -> EarlyDrop {
        let mut early = early();
        let actions = look(&mut early, network(device()), &[], Duration::ZERO);
        assert!(
            matches!(actions.as_slice(), [Action::SetEarlyAddresses(_), Action::DropEarly { index: 7, .. }]),
            "the addresses come first: {actions:?}"
        );
        early.attached("eth0".into(), Ok("XDP, native".into()), &mut Outbox::new(now()));
        assert_eq!(early.status()["eth0"], "XDP, native");
        early
    }

    #[test]
    fn look_that_does_not_end_ends_the_early_drop_until_it_does() {
        let mut early = on();
        let later = |seconds| Outbox::new(Now { at: now().at + Duration::from_secs(seconds), ..now() });
        let mut out = later(1);
        early.look(&mut out);
        assert!(matches!(out.actions.as_slice(), [Action::LookAtNetwork(_)]));
        for (seconds, actions) in [(2, 0), (4, 2), (5, 0)] {
            let mut out = later(seconds);
            early.look(&mut out);
            assert_eq!(out.actions.len(), actions, "{seconds} s: {:?}", out.actions);
        }
        let actions = look(&mut early, network(device()), &[], Duration::from_secs(6));
        assert!(matches!(actions.as_slice(), [Action::DropEarly { index: 7, .. }]), "{actions:?}");
    }

    #[test]
    fn device_that_something_speaks_against_has_no_program() {
        type Change = fn(&mut Network);
        let unfit: [(&str, Change); 6] = [
            ("no such device", |it| it.devices.clear()),
            ("loopback", |it| it.devices.get_mut("eth0").unwrap().is_loopback = true),
            ("no Ethernet", |it| it.devices.get_mut("eth0").unwrap().ethernet = None),
            ("part of a bridge", |it| it.devices.get_mut("eth0").unwrap().has_master = true),
            ("forwards", |it| it.devices.get_mut("eth0").unwrap().forwards = true),
            ("NAT", |it| it.translates = true),
        ];
        for (why, change) in unfit {
            let mut changed = network(device());
            change(&mut changed);
            let mut never = early();
            let actions = look(&mut never, changed.clone(), &[], Duration::ZERO);
            assert!(!actions.iter().any(|it| matches!(it, Action::DropEarly { .. })), "{why}: {actions:?}");
            assert!(never.status()["eth0"].contains(why), "{:?}", never.status());
            assert!(look(&mut never, changed.clone(), &[], Duration::ZERO).is_empty(), "{why} is said once");
            let mut before = on();
            let actions = look(&mut before, changed, &[7], Duration::ZERO);
            assert!(matches!(actions.first(), Some(Action::EndEarlyDrop { index: 7 })), "{why}: {actions:?}");
            let back = look(&mut before, network(device()), &[], Duration::ZERO);
            assert!(matches!(back.last(), Some(Action::DropEarly { .. })), "{why}: {back:?}");
        }
        let mut unknown = on();
        let mut out = Outbox::new(now());
        unknown.seen(Err("no memory".into()), &mut out);
        assert!(matches!(out.actions.first(), Some(Action::EndEarlyDrop { index: 7 })), "{:?}", out.actions);
    }

    #[test]
    fn program_follows_changes_of_the_device() {
        let mut early = on();
        assert!(look(&mut early, network(device()), &[7], Duration::ZERO).is_empty());
        let other = Device { ethernet: Some([2; 6]), ..device() };
        let actions = look(&mut early, network(other.clone()), &[7], Duration::ZERO);
        let [Action::DropEarly { device: told, .. }] = actions.as_slice() else { panic!("{actions:?}") };
        assert_eq!(told.ethernet, [2; 6]);
        early.attached("eth0".into(), Ok("XDP, native".into()), &mut Outbox::new(now()));
        let hides = Device { shows_tags: false, ..other };
        let actions = look(&mut early, network(hides), &[7], Duration::ZERO);
        assert!(
            matches!(
                actions.as_slice(),
                [Action::EndEarlyDrop { index: 7 }, Action::DropEarly { shows_tags: false, .. }]
            ),
            "XDP must not stay: {actions:?}"
        );
    }

    #[test]
    fn refused_program_is_tried_again_later_or_when_the_device_changes() {
        let mut early = early();
        look(&mut early, network(device()), &[], Duration::ZERO);
        early.attached("eth0".into(), Err("too old".into()), &mut Outbox::new(now()));
        assert!(early.status()["eth0"].contains("too old"));
        assert!(look(&mut early, network(device()), &[], AGAIN / 2).is_empty());
        assert!(!look(&mut early.devices_again(), network(device()), &[], AGAIN).is_empty());
        let changed = Device { index: 8, ..device() };
        assert!(!look(&mut early, network(changed), &[], AGAIN / 2).is_empty());
        let mut taken = on();
        let actions = look(&mut taken, network(device()), &[], Duration::ZERO);
        assert!(matches!(actions.first(), Some(Action::EndEarlyDrop { .. })), "{actions:?}");
        assert!(look(&mut taken, network(device()), &[], AGAIN / 2).is_empty(), "it is left so for a while");
    }

    #[test]
    fn what_the_kernel_counted_before_is_not_counted_again() {
        let mut early = early();
        let counters = |value| [(Counter::EarlyUnreported.metric(), value)];
        let counted = [9, 9, 12].map(|value| early.unreported(&counters(value)));
        assert_eq!(counted, [0, 0, 3]);
    }

    impl EarlyDrop {
        fn devices_again(&self) -> Self {
            Self {
                netns: self.netns,
                devices: self.devices.clone(),
                addresses: self.addresses.clone(),
                ..Self::default()
            }
        }
    }
}
