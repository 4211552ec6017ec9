//! Names from tcpw.toml: by port, and by systemd unit.
//!
//! In: tcpw.toml. Out: names in addition to those of the listener's process. A listener of the kernel has no
//! process, so these are its only names.

use std::collections::BTreeMap;

use crate::{names::NamesSet, parse::rule::Text};

/// More names for listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreNames {
    /// By local port.
    pub ports: BTreeMap<u16, Vec<String>>,
    /// By the name of the systemd unit, such as `web.service`.
    pub units: BTreeMap<String, Vec<String>>,
}

impl MoreNames {
    /// The names of a listener with those for its port and unit.
    pub(super) fn with(&self, names: &NamesSet, port: u16, unit: Option<&str>) -> Option<NamesSet> {
        let of_unit = unit.and_then(|unit| self.units.get(unit));
        let more: Vec<&String> = self.ports.get(&port).into_iter().chain(of_unit).flatten().collect();
        let more = more.into_iter().map(|name| Text::from(name.as_bytes()));
        let all: Vec<Text> = names.to_vec().into_iter().chain(more).collect();
        (all.len() > names.to_vec().len()).then(|| NamesSet::new(all))
    }
}
