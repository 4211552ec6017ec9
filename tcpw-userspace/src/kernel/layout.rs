//! The layout of the maps: that of this build, and that of the pinned maps.
//!
//! In: the BPF object; a pin directory. Out: an error for the first pinned map of another layout.
//! Invariant: no program ever runs on a map whose keys and values have another layout. A change of
//! the layout needs another [`ABI_VERSION`]: layout.txt holds both, and a test compares.

use std::{fmt, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::maps::MapInfo;
use aya_obj::{Object, maps::Map};
use tcpw_common::ABI_VERSION;

use super::{load::OBJECT, maps, pins::Pins};

/// The properties of a map that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    kind: u32,
    /// Bytes.
    key: u32,
    /// Bytes.
    value: u32,
    entries: u32,
}

impl From<&Map> for Shape {
    fn from(map: &Map) -> Self {
        Self {
            kind: map.map_type(),
            key: map.key_size(),
            value: map.value_size(),
            entries: map.max_entries(),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value, entries } = self;
        write!(formatter, "type {kind}, key {key} B, value {value} B, {entries} entries")
    }
}

/// Checks the pinned maps of this version.
///
/// # Errors
/// A map of another layout is pinned under this one's number: the policy there stays in force.
pub(super) fn check(pins: &Pins) -> Result<()> {
    let object = Object::parse(OBJECT).context("read the BPF object")?;
    for name in maps::pinned() {
        let own = shape_of(&object, name)?;
        if let Some(pinned) = pinned(&pins.map(name))?
            && pinned != own
        {
            bail!(
                "the map pinned in {} is of another layout ({pinned}; this tcpw's is {own}), though both have \
                 number {ABI_VERSION}: the policy pinned there stays in force; go on with the tcpw that \
                 pinned it, or end it with `tcpw detach` and start again",
                pins.map(name).display()
            );
        }
    }
    Ok(())
}

fn shape_of(object: &Object, name: &str) -> Result<Shape> {
    object.maps.get(name).map(Shape::from).with_context(|| format!("the BPF object has no map {name}"))
}

/// The shape of a pinned map; `None` if it is not pinned.
fn pinned(path: &Path) -> Result<Option<Shape>> {
    if !path.exists() {
        return Ok(None);
    }
    let info = MapInfo::from_pin(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Some(Shape {
        kind: info.map_type().map_or(0, |kind| kind as u32),
        key: info.key_size(),
        value: info.value_size(),
        entries: info.max_entries(),
    }))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// The number, then a line for each map; those of a map of maps follow it.
    fn layout() -> Result<String> {
        let object = Object::parse(OBJECT)?;
        let mut text = format!("{ABI_VERSION}\n");
        for name in maps::pinned() {
            writeln!(text, "{name}: {}", shape_of(&object, name)?)?;
            if let Some(inner) = object.maps.get(name).and_then(Map::inner) {
                writeln!(text, "{name}, each: {}", Shape::from(&inner))?;
            }
        }
        Ok(text)
    }

    #[test]
    #[cfg(not(feature = "other-layout"))]
    fn another_layout_has_another_number() -> Result<()> {
        let now = layout()?;
        assert!(
            now == include_str!("layout.txt"),
            "the layout changed: raise ABI_VERSION in tcpw-common/src/layout.rs, then make layout.txt:\n{now}"
        );
        Ok(())
    }
}
