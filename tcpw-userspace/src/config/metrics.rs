//! `[metrics]` of the TOML file.

use std::{net::SocketAddr, ops::Range, path::PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;

/// How metrics are exported: `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Where they are served over HTTP.
    pub listen: Option<SocketAddr>,
    /// The file that they are written to.
    pub textfile: Option<PathBuf>,
}

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawMetrics {
    listen: Option<Spanned<String>>,
    textfile: Option<Spanned<PathBuf>>,
}

pub(super) const KEYS: [&str; 2] = ["listen", "textfile"];

/// The daemon has no right to ports below it. Source: ip(7), `ip_unprivileged_port_start`.
const FIRST_PORT: u16 = 1024;

impl RawMetrics {
    /// The checked settings; `wrong` makes the error for a place in the file.
    pub(super) fn check(
        self,
        wrong: &dyn Fn(Range<usize>, String) -> ConfigError,
    ) -> Result<MetricsSettings, ConfigError> {
        let listen = self.listen.map(|listen| {
            let text = listen.get_ref();
            let address: SocketAddr = text.parse().map_err(|_| {
                let what = format!(
                    "listen \"{text}\": write an address and a port, as \"127.0.0.1:9798\" or \"[::1]:9798\""
                );
                wrong(listen.span(), what)
            })?;
            if address.port() >= FIRST_PORT {
                return Ok(address);
            }
            Err(wrong(listen.span(), format!("port {}: write a number from 1024 to 65535", address.port())))
        });
        let textfile = self.textfile.map(|textfile| {
            let path = textfile.get_ref();
            // node_exporter reads no other file.
            if path.is_absolute() && path.extension().is_some_and(|it| it == "prom") {
                return Ok(path.clone());
            }
            let what =
                format!("\"{}\": write an absolute path, from /, that ends in \".prom\"", path.display());
            Err(wrong(textfile.span(), what))
        });
        Ok(MetricsSettings { listen: listen.transpose()?, textfile: textfile.transpose()? })
    }
}
