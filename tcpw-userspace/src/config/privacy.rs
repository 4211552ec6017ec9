//! `[privacy]` of the TOML file.

use std::{ops::Range, path::PathBuf, str::FromStr};

use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;

/// What sinks show of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivacySettings {
    /// How their addresses are shown; names and users accordingly.
    pub addresses: ShownAddresses,
    /// The file with the key of hashes. Without it each start has a random one.
    pub key_file: Option<PathBuf>,
}

/// How addresses of clients are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShownAddresses {
    /// As they are.
    #[default]
    Full,
    /// The IPv4 /24 or IPv6 /48.
    Truncated,
    /// A keyed hash.
    Hashed,
}

impl FromStr for ShownAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "truncated" => Ok(Self::Truncated),
            "hashed" => Ok(Self::Hashed),
            _ => Err(format!("addresses \"{text}\": write \"full\", \"truncated\" or \"hashed\"")),
        }
    }
}

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawPrivacy {
    addresses: Option<Spanned<String>>,
    key_file: Option<Spanned<PathBuf>>,
}

pub(super) const KEYS: [&str; 2] = ["addresses", "key-file"];

impl RawPrivacy {
    /// The checked settings; `wrong` makes the error for a place in the file.
    pub(super) fn check(
        self,
        wrong: &impl Fn(Range<usize>, String) -> ConfigError,
    ) -> Result<PrivacySettings, ConfigError> {
        let addresses = match &self.addresses {
            None => ShownAddresses::default(),
            Some(text) => text.get_ref().parse().map_err(|what| wrong(text.span(), what))?,
        };
        let key_file = self.key_file.map(|path| {
            let what = if !path.get_ref().is_absolute() {
                format!("\"{}\": write an absolute path, from /", path.get_ref().display())
            } else if addresses != ShownAddresses::Hashed {
                "key-file: nothing is hashed: write addresses = \"hashed\", or leave it out".to_owned()
            } else {
                return Ok(path.into_inner());
            };
            Err(wrong(path.span(), what))
        });
        Ok(PrivacySettings { addresses, key_file: key_file.transpose()? })
    }
}
