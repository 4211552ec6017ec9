//! Time stamps as syslog writes them: local time, day padded with a blank.
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
