//! The Debian way: packages, and bpf-linker built against Debian's LLVM.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Once,
};

use anyhow::{Context, Result, anyhow};

use super::{Part, part};
use crate::{
    command::{Prerequisite, find, is_root, output, run, say},
    toolchain::{OLDEST_RUSTC, parse_version},
};

/// The LLVM of Debian's rustc-web, and of a bpf-linker that reads its bitcode.
const LLVM: &str = "llvm-22";
const LINKER_VERSION: &str = "0.13.0";

const RUSTC: &[Part] = &[
    part("rustc-web", "/usr/bin/rustc"),
    part("cargo-web", "/usr/bin/cargo"),
    part("rust-web-src", "/usr/lib/rustlib/src/rust/library/core/Cargo.toml"),
];

const LINKER: &[Part] = &[
    part("llvm-22-dev", "/usr/lib/llvm-22/include/llvm-c/Core.h"),
    part("libzstd-dev", "/usr/include/zstd.h"),
    part("zlib1g-dev", "/usr/include/zlib.h"),
    part("g++", "c++"),
];

/// Runs apt-get with a policy-rc.d that forbids starting daemons; the one that was there comes back.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
saved=$policy.before-tcpw
put_back() { if [ -e $saved ]; then mv -f $saved $policy; else rm -f $policy; fi; }
if ! { [ -x $policy ] && $policy ssh start >/dev/null 2>&1; [ $? -eq 101 ]; }; then
    if [ -e $policy ]; then mv $policy $saved; fi
    trap put_back EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n# put here by tcpw for one apt-get run\nexit 101\n' >$policy
    chmod 755 $policy
fi
said=$(apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "$@" 2>&1) || {
    printf '%s\n' "$said" >&2
    exit 1
}
"#;

/// Whether apt offers a rustc with sources that is new enough.
pub(crate) fn has_rustc() -> bool {
    let offered = || candidate("rust-web-src") >= Some(OLDEST_RUSTC) && candidate("llvm-22-dev").is_some();
    if !offered() && find("apt-get").is_some() && is_root() {
        // Package lists may be old or, in a container image, absent.
        update();
    }
    offered()
}

/// Debian's rustc, cargo and library sources.
pub(crate) fn install_rustc() -> Result<()> {
    // Debian's other rustc packages own the same files: an old one would look like ours.
    let packages: Vec<_> = RUSTC.iter().map(|part| part.package).collect();
    install_packages(&packages)
}

/// bpf-linker with Debian's LLVM.
pub(crate) fn install_linker() -> Result<()> {
    install(LINKER)?;
    say(format_args!("installing bpf-linker {LINKER_VERSION} with {LLVM} (a minute)"));
    run(Command::new("cargo")
        .args(["install", "--quiet", "--force", "bpf-linker", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features", LLVM])
        .env("LLVM_PREFIX", format!("/usr/lib/{LLVM}"))
        .env_remove("CARGO_TARGET_DIR"))
}

/// Installs those parts that are missing.
pub(crate) fn install(parts: &[Part]) -> Result<()> {
    let missing: Vec<_> = parts.iter().filter(|part| !is_there(part)).map(|part| part.package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing) }
}

/// Downloads a package and what it needs into the directory given, and unpacks them side by side.
const UNPACK: &str = r#"
set -e
work=$(mktemp -d)
trap 'rm -rf $work' EXIT
chmod 755 $work
mkdir -p $work/partial
apt-get -qq -o Dir::Cache::archives=$work -o Debug::NoLocking=true install --yes --no-install-recommends \
    --reinstall --download-only "$1" >&2
rm -rf "$2"
mkdir -p "$2"
for package in $work/*.deb; do dpkg-deb -x $package "$2"; done
"#;

/// Unpacks those parts that are missing, each into a directory of its own: the part of its path before
/// `/usr`.
pub(crate) fn unpack(parts: &[Part]) -> Result<()> {
    for Part { package, shown_by } in parts.iter().filter(|part| !is_there(part)) {
        let Some((into, _)) = shown_by.split_once("/usr/") else { continue };
        if find("apt-get").is_none() || !is_root() {
            return Err(anyhow!(Prerequisite(format!(
                "missing: unpack what Debian calls {package} to {into}, as root: dpkg-deb -x"
            ))));
        }
        update();
        say(format_args!("unpacking {package} to {into} (it is not installed)"));
        run(Command::new("sh").args(["-c", UNPACK, "unpack", package, into]).stdin(Stdio::null()))
            .with_context(|| format!("unpacking {package}"))?;
    }
    Ok(())
}

fn is_there(part: &Part) -> bool {
    if part.shown_by.starts_with('/') {
        Path::new(part.shown_by).exists()
    } else {
        find(part.shown_by).is_some()
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        return Err(anyhow!(Prerequisite(format!(
            "missing, and there is no apt-get to install it: install what Debian calls {list}"
        ))));
    }
    if !is_root() {
        return Err(anyhow!(Prerequisite(format!(
            "missing packages: run `sudo apt-get install --no-install-recommends {list}`, then this command again"
        ))));
    }
    update();
    say(format_args!("apt-get install {list} (no daemon is started)"));
    run(Command::new("sh")
        .args(["-c", INSTALL, "install"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null()))
    .with_context(|| format!("installing {list}"))?;
    disable_at_boot(packages);
    Ok(())
}

/// A sandbox starts its own daemons; the packages' units shall not start at the next boot either.
fn disable_at_boot(packages: &[&str]) {
    if find("systemctl").is_none() {
        return;
    }
    // Not chrony: where it took the place of another keeper of the time, somebody has to keep it.
    for (package, unit) in [
        ("openssh-server", "ssh"),
        ("nginx-light", "nginx"),
        ("xinetd", "xinetd"),
        ("rsyslog", "rsyslog"),
        ("unbound", "unbound"),
        ("tftpd-hpa", "tftpd-hpa"),
        ("opensmtpd", "opensmtpd"),
        ("oidentd", "oidentd"),
        ("fail2ban", "fail2ban"),
        ("apache2", "apache2"),
        ("postgresql", "postgresql"),
        ("mariadb-server", "mariadb"),
        ("redis-server", "redis-server"),
        ("mosquitto", "mosquitto"),
        ("memcached", "memcached"),
        ("vsftpd", "vsftpd"),
        ("prometheus", "prometheus"),
        ("prometheus-node-exporter", "prometheus-node-exporter"),
        ("bind9", "named"),
        ("slapd", "slapd"),
        ("rpcbind", "rpcbind"),
        ("rpcbind", "rpcbind.socket"),
        ("nfs-common", "nfs-client.target"),
        ("stunnel4", "stunnel4"),
        ("sslh", "sslh"),
    ] {
        if packages.contains(&package) && output(Command::new("systemctl").args(["disable", unit])).is_ok() {
            say(format_args!("{unit} is not started at boot (systemctl enable {unit} to change that)"));
        }
    }
}

/// The version apt would install.
fn candidate(package: &str) -> Option<(u32, u32)> {
    let known = || output(Command::new("apt-cache").args(["policy", package]));
    let answer = known().ok()?;
    let version = answer.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    parse_version(version.split_once(':').map_or(version, |(_epoch, version)| version))
}

/// Fetches the package lists, once; a third party's list that fails to load is no reason to stop.
pub(crate) fn update() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        say("apt-get update");
        if let Err(error) = run(Command::new("apt-get").args(["-qq", "update"]).stdin(Stdio::null())) {
            say(format_args!("going on with the package lists that are there: {error:#}"));
        }
    });
}
