//! Time stamps: as syslog writes them (local time, day padded with a blank), and as RFC 3339 has them (UTC).
//!
//! libc's localtime_r, not a crate: it is what every daemon's syslog(3) uses, so
//! our lines agree with theirs in zone and in daylight saving.

use std::{
    mem::zeroed,
    time::{SystemTime, UNIX_EPOCH},
};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Jan  2 20:24:17`.
pub(super) fn stamp(time: SystemTime) -> String {
    let local = local(time);
    let month = usize::try_from(local.tm_mon).ok().and_then(|month| MONTHS.get(month));
    format!(
        "{} {:>2} {:02}:{:02}:{:02}",
        month.unwrap_or(&MONTHS[0]),
        local.tm_mday,
        local.tm_hour,
        local.tm_min,
        local.tm_sec
    )
}

/// `20:24:17`.
pub fn time_of_day(time: SystemTime) -> String {
    let local = local(time);
    format!("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec)
}

/// `2026-01-02T20:24:17.123456Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or(0);
    // SAFETY: `tm` is integers and a pointer; all zeroes is valid.
    let mut utc: libc::tm = unsafe { zeroed() };
    // SAFETY: both pointers are valid over the call.
    unsafe { libc::gmtime_r(&raw const seconds, &raw mut utc) };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        utc.tm_year + 1900,
        utc.tm_mon + 1,
        utc.tm_mday,
        utc.tm_hour,
        utc.tm_min,
        utc.tm_sec,
        since.subsec_micros()
    )
}

fn local(time: SystemTime) -> libc::tm {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let seconds = libc::time_t::try_from(seconds).unwrap_or(0);
    // SAFETY: `tm` is integers and a pointer; all zeroes is valid.
    let mut local: libc::tm = unsafe { zeroed() };
    // SAFETY: both pointers are valid over the call. It reads TZ, which no thread of
    // this process changes. On failure `local` stays zero: midnight of January 0.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut local) };
    local
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn utc_is_what_date_prints() {
        for (seconds, micros) in [(0, 0), (1_735_845_857, 7), (1_709_251_199, 999_999), (4_102_444_800, 120)]
        {
            let date = std::process::Command::new("date")
                .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"])
                .output()
                .unwrap();
            let date = String::from_utf8(date.stdout).unwrap();
            let ours = rfc3339(UNIX_EPOCH + Duration::new(seconds, micros * 1000 + 999));
            assert_eq!(ours, format!("{}.{micros:06}Z", date.trim_end()));
        }
    }

    #[test]
    fn stamp_is_what_date_prints() {
        for seconds in [0, 1_735_845_857, 1_752_000_000, 4_102_444_800] {
            let date = std::process::Command::new("date")
                .args(["-d", &format!("@{seconds}"), "+%b %e %H:%M:%S"])
                .env("LC_ALL", "C")
                .output()
                .unwrap();
            let ours = stamp(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(ours, String::from_utf8(date.stdout).unwrap().trim_end());
        }
    }
}
