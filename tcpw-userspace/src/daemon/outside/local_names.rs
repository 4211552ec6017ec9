//! The addresses whose names stand in /etc/hosts.
//!
//! In: /etc/hosts and /etc/nsswitch.conf, whenever they change. Out: the addresses, as inputs; none where the C library
//! asks something else first.
//! Source: hosts(5), nsswitch.conf(5).

use std::{collections::HashSet, fs, net::IpAddr, os::unix::fs::MetadataExt as _, time::Duration};

use tokio::task::spawn_blocking;

use super::Results;
use crate::core::Input;

const HOSTS: &str = "/etc/hosts";
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Most addresses: the limits on look-ups do not count them.
const MOST: usize = 4096;

/// What shows that a file changed: device, inode, size, time of the last change.
type Version = Option<(u64, u64, u64, i64, i64)>;

/// Follows the files until the loop has ended.
pub(super) fn follow(results: Results) {
    tokio::spawn(async move {
        let mut known = None;
        loop {
            let Ok((versions, addresses)) = spawn_blocking(move || read(known)).await else { return };
            known = Some(versions);
            if let Some(addresses) = addresses
                && results.send(Input::LocalNames(addresses).into()).is_err()
            {
                return;
            }
            tokio::time::sleep(EVERY).await;
        }
    });
}

/// The addresses, if a file is not the version that is known.
fn read(known: Option<[Version; 2]>) -> ([Version; 2], Option<HashSet<IpAddr>>) {
    let versions = [version(HOSTS), version(NSSWITCH)];
    if known == Some(versions) {
        return (versions, None);
    }
    let text = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // Without the file the C library reads /etc/hosts first.
    let is_first = text(NSSWITCH).map_or(true, |text| asks_files_first(&text));
    let addresses = text(HOSTS).ok().filter(|_| is_first).map(|text| addresses_in(&text));
    (versions, Some(addresses.unwrap_or_default()))
}

fn version(path: &str) -> Version {
    let status = fs::metadata(path).ok()?;
    Some((status.dev(), status.ino(), status.size(), status.mtime(), status.mtime_nsec()))
}

/// Whether the line `hosts:` begins with `files`.
fn asks_files_first(nsswitch: &str) -> bool {
    let line = nsswitch.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
    line.is_none_or(|services| services.split_whitespace().next() == Some("files"))
}

/// The first word of each line that is not a comment.
fn addresses_in(hosts: &str) -> HashSet<IpAddr> {
    let words = hosts.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    words.filter_map(|word| word.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_lines() {
        let text =
            "127.0.0.1 localhost\n# 10.0.0.1 a\n\t2001:db8::1\tb c\n::ffff:10.0.0.2 d # 10.0.0.3\nx y\n";
        let wanted = ["127.0.0.1", "2001:db8::1", "10.0.0.2"].map(|text| text.parse().unwrap());
        assert_eq!(addresses_in(text), wanted.into());
    }

    #[test]
    fn other_services_may_come_first() {
        assert!(asks_files_first("passwd: files\nhosts:\tfiles dns\n"));
        assert!(asks_files_first("passwd: files\n"));
        assert!(!asks_files_first("hosts: resolve [!UNAVAIL=return] files dns\n"));
    }
}
