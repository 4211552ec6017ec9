//! `cargo xtask setup`: installs what is missing, and says so.
//!
//! Invariant: when everything is there, nothing is run that changes the machine.
//! What is there is judged by the programs and files themselves, not by a
//! package manager, so other distributions work too once they have them.

mod apt;
mod rustup;

use anyhow::{Result, anyhow};

use crate::{
    command::{Prerequisite, find, output, run, say},
    toolchain::Toolchain,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also what the demo, the tests and `check` need
    #[arg(long)]
    all: bool,
}

/// A Debian package, and the file that shows it is there: a program's name or a path.
pub(crate) struct Part {
    pub(crate) package: &'static str,
    pub(crate) shown_by: &'static str,
}

const fn part(package: &'static str, shown_by: &'static str) -> Part {
    Part { package, shown_by }
}

const CLIPPY: &[Part] = &[part("rust-web-clippy", "/usr/bin/cargo-clippy")];

const DEMO: &[Part] = &[
    part("openssh-server", "sshd"),
    part("openssh-client", "ssh"),
    part("nginx-light", "nginx"),
    part("xinetd", "xinetd"),
    part("iproute2", "ip"),
];

/// libFuzzer is C++.
const FUZZER: &[Part] = &[part("g++", "c++")];

const TESTS: &[Part] = &[
    part("rsyslog", "rsyslogd"),
    part("nftables", "nft"),
    part("netcat-openbsd", "/bin/nc.openbsd"),
    part("curl", "curl"),
    part("ethtool", "ethtool"),
    part("python3", "/usr/bin/python3"),
    part("dnsmasq-base", "dnsmasq"),
    part("unbound", "unbound"),
    part("oidentd", "oidentd"),
    part("bind9-dnsutils", "dig"),
    part("chrony", "chronyd"),
    part("avahi-daemon", "avahi-daemon"),
    part("tftpd-hpa", "in.tftpd"),
    part("tftp-hpa", "tftp"),
    part("opensmtpd", "smtpd"),
    part("bsd-mailx", "/usr/bin/bsd-mailx"),
    part("fail2ban", "fail2ban-regex"),
    // With it fail2ban reads the journal.
    part("python3-systemd", "/usr/lib/python3/dist-packages/systemd/journal.py"),
    part("prometheus", "prometheus"),
    part("logwatch", "/usr/share/logwatch/scripts/services/sshd"),
    part("tmux", "/usr/bin/tmux"),
];

/// Daemons that a real systemd starts as their packages ship them.
const PACKAGES: &[Part] = &[
    part("systemd", "/usr/lib/systemd/systemd"),
    part("apache2", "apache2"),
    part("postgresql", "/usr/bin/pg_ctlcluster"),
    part("mariadb-server", "mariadbd"),
    part("redis-server", "/usr/bin/redis-server"),
    part("mosquitto", "mosquitto"),
    part("memcached", "memcached"),
    part("vsftpd", "vsftpd"),
    part("prometheus-node-exporter", "prometheus-node-exporter"),
    part("bind9", "named"),
    part("slapd", "slapd"),
    part("rpcbind", "rpcbind"),
    part("nfs-common", "rpc.statd"),
    part("stunnel4", "stunnel4"),
    part("sslh", "sslh"),
];

/// Unpacked, not installed: they exclude packages of the other tables, or would serve this machine's files or consoles.
const UNPACKED: &[Part] = &[
    part("postfix", "/var/lib/tcpw-tests/postfix/usr/sbin/postdrop"),
    part("exim4-daemon-light", "/var/lib/tcpw-tests/exim4/usr/sbin/exim4"),
    part("proftpd-core", "/var/lib/tcpw-tests/proftpd/usr/sbin/proftpd"),
    part("atftpd", "/var/lib/tcpw-tests/atftpd/usr/sbin/atftpd"),
    part("nfs-kernel-server", "/var/lib/tcpw-tests/nfs-kernel-server/usr/sbin/rpc.mountd"),
    part("quota", "/var/lib/tcpw-tests/quota/usr/sbin/rpc.rquotad"),
    part("conserver-server", "/var/lib/tcpw-tests/conserver/usr/sbin/conserver"),
    part("dante-server", "/var/lib/tcpw-tests/dante/usr/sbin/danted"),
];

/// An emulated machine, and what goes into it.
const VM: &[Part] = &[
    part("qemu-system-x86", "qemu-system-x86_64"),
    part("busybox-static", "busybox"),
    part("cpio", "cpio"),
    part("kmod", "/sbin/depmod"),
    part("binutils", "strip"),
];

/// Other filters of networks, and what sets the device up that they are measured at.
const PEERS: &[Part] = &[
    part("nftables", "nft"),
    part("ipset", "ipset"),
    part("iptables", "iptables-legacy"),
    part("ethtool", "ethtool"),
];

/// tcpdmatch, and with it libwrap0.
const CONFORMANCE: &[Part] = &[part("tcpd", "tcpdmatch")];

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    for_build()?;
    if arguments.all {
        for_check()?;
        for_vm()?;
    }
    say("setup: all is there");
    Ok(())
}

/// The compiler and the linker of the BPF object.
pub(crate) fn for_build() -> Result<Toolchain> {
    let toolchain = match Toolchain::installed() {
        Some(toolchain) => toolchain,
        None if apt::has_rustc() => apt::install_rustc().map(|()| Toolchain::Debian)?,
        None if find("rustup").is_some() => rustup::install_nightly().map(|()| Toolchain::Nightly)?,
        None => {
            return Err(anyhow!(Prerequisite(
                "the eBPF build needs a rustc with its library sources, and neither apt offers rust-web-src 1.95 or \
                 later nor is rustup there: install rustup (https://rustup.rs), then `cargo xtask setup`"
                    .into()
            )));
        }
    };
    // A linker whose libLLVM went away is there, but does not start.
    let works = |linker| output(std::process::Command::new(linker).arg("--version")).is_ok();
    if !find("bpf-linker").is_some_and(works) {
        match toolchain {
            Toolchain::Debian => apt::install_linker()?,
            Toolchain::Nightly => rustup::install_linker()?,
        }
    }
    Ok(toolchain)
}

/// `for_build`, and the lints.
pub(crate) fn for_check() -> Result<Toolchain> {
    let toolchain = for_build()?;
    rustup::install_host_components()?;
    match toolchain {
        Toolchain::Debian => apt::install(CLIPPY)?,
        Toolchain::Nightly => rustup::install_nightly_clippy()?,
    }
    Ok(toolchain)
}

/// The real daemons of the demo.
pub(crate) fn for_demo() -> Result<()> {
    apt::install(DEMO)
}

/// What the tests need beyond the build.
pub(crate) fn for_tests() -> Result<()> {
    apt::install(DEMO)?;
    apt::install(TESTS)?;
    apt::install(PACKAGES)?;
    apt::unpack(UNPACKED)?;
    for_conformance()
}

/// qemu, and what the tests in its machines need.
pub(crate) fn for_vm() -> Result<()> {
    for_tests()?;
    apt::install(VM)
}

/// What tcpw is measured beside.
pub(crate) fn for_peers() -> Result<()> {
    apt::install(PEERS)
}

/// Fetches apt's package lists.
pub(crate) fn update_package_lists() {
    apt::update();
}

/// The real libwrap.
pub(crate) fn for_conformance() -> Result<()> {
    apt::install(CONFORMANCE)
}

/// cargo-fuzz, and what builds libFuzzer.
pub(crate) fn for_fuzz() -> Result<()> {
    apt::install(FUZZER)?;
    if find("cargo-fuzz").is_none() {
        say("cargo install --locked cargo-fuzz");
        run(std::process::Command::new("cargo").args(["install", "--quiet", "--locked", "cargo-fuzz"]))?;
    }
    Ok(())
}
