//! `[effects]` of the TOML file.

use std::{ops::Range, path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use crate::effects::Settings;

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawEffects {
    user: Option<Spanned<String>>,
    allow_set_uid: Option<bool>,
    mailer_group: Option<bool>,
    writable: Option<Vec<Spanned<PathBuf>>>,
    files: Option<Vec<Spanned<PathBuf>>>,
    at_once: Option<Spanned<i64>>,
    time_limit: Option<Spanned<i64>>,
    per_minute: Option<Spanned<i64>>,
    per_minute_and_source: Option<Spanned<i64>>,
    report_every: Option<Spanned<i64>>,
}

pub(super) const KEYS: [&str; 10] = [
    "user",
    "allow-set-uid",
    "mailer-group",
    "writable",
    "files",
    "at-once",
    "time-limit",
    "per-minute",
    "per-minute-and-source",
    "report-every",
];

impl RawEffects {
    /// The checked settings; `wrong` makes the error for a place in the file.
    pub(super) fn check(
        self,
        wrong: &dyn Fn(Range<usize>, String) -> ConfigError,
    ) -> Result<Settings, ConfigError> {
        let default = Settings::default();
        let paths = |given: Option<Vec<Spanned<PathBuf>>>, default: Vec<PathBuf>| {
            let Some(given) = given else { return Ok(default) };
            given
                .into_iter()
                .map(|path| match path.get_ref().is_absolute() {
                    true => Ok(path.into_inner()),
                    false => Err(wrong(
                        path.span(),
                        format!("\"{}\": write an absolute path, from /", path.get_ref().display()),
                    )),
                })
                .collect()
        };
        let number = |key: &str, given: Option<Spanned<i64>>, most: u32, default: u32| {
            let Some(given) = given else { return Ok(default) };
            let number = u32::try_from(*given.get_ref()).ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| {
                wrong(given.span(), format!("{key} {}: write a number from 1 to {most}", given.get_ref()))
            })
        };
        let seconds = |key: &str, given: Option<Spanned<i64>>, default: Duration| {
            let default = u32::try_from(default.as_secs()).unwrap_or(1);
            number(key, given, 3600, default).map(|seconds| Duration::from_secs(seconds.into()))
        };
        let user = self.user.map(|user| match user.get_ref().as_str() {
            "" | "root" => Err(wrong(
                user.span(),
                format!(
                    "user \"{}\": write a user without rights: commands never run as root",
                    user.get_ref()
                ),
            )),
            _ => Ok(user.into_inner()),
        });
        Ok(Settings {
            user: user.transpose()?,
            allow_set_uid: self.allow_set_uid.unwrap_or(default.allow_set_uid),
            mailer_group: self.mailer_group.unwrap_or(default.mailer_group),
            writable: paths(self.writable, default.writable)?,
            files: paths(self.files, default.files)?,
            at_once: number("at-once", self.at_once, 256, default.at_once)?,
            time_limit: seconds("time-limit", self.time_limit, default.time_limit)?,
            per_minute: number("per-minute", self.per_minute, 1_000_000, default.per_minute)?,
            per_minute_and_source: number(
                "per-minute-and-source",
                self.per_minute_and_source,
                1_000_000,
                default.per_minute_and_source,
            )?,
            report_every: seconds("report-every", self.report_every, default.report_every)?,
        })
    }
}
