//! `[lines]` of the TOML file.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;

/// Most lines of attempts in a minute: `[lines]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRates {
    /// Of one network of clients: an IPv4 /24, an IPv6 /48.
    pub per_network: u32,
    /// Of all.
    pub total: u32,
}

/// What a key that is not set gives, if the other one is: no number of lines in a minute is greater.
const UNLIMITED: u32 = 1_000_000_000;

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLines {
    per_network: Option<Spanned<i64>>,
    total: Option<Spanned<i64>>,
}

pub(super) const KEYS: [&str; 2] = ["per-network", "total"];

impl RawLines {
    /// The checked settings, `None` if no number is limited; `wrong` makes the error for a place in the file.
    pub(super) fn check(
        self,
        wrong: &dyn Fn(Range<usize>, String) -> ConfigError,
    ) -> Result<Option<LineRates>, ConfigError> {
        let number = |value: Option<Spanned<i64>>| {
            let Some(value) = value else { return Ok(None) };
            let number = u32::try_from(*value.get_ref()).ok().filter(|it| (1..=UNLIMITED).contains(it));
            number.map(Some).ok_or_else(|| {
                let what = format!(
                    "{}: write how many lines in a minute, from 1; without the key there is no limit",
                    value.get_ref()
                );
                wrong(value.span(), what)
            })
        };
        let (per_network, total) = (number(self.per_network)?, number(self.total)?);
        let is_limited = per_network.is_some() || total.is_some();
        let or_none = |lines: Option<u32>| lines.unwrap_or(UNLIMITED);
        Ok(is_limited.then_some(LineRates { per_network: or_none(per_network), total: or_none(total) }))
    }
}
