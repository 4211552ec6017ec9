//! The compiler of the BPF object: one that has the sources of `core`.
//!
//! `bpfel-unknown-none` has no prebuilt `core`. Debian packages a rustc with its
//! library sources (rust-web-src); elsewhere a rustup nightly with rust-src serves.

use std::{
    env::consts::ARCH,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, anyhow};

use crate::command::{Prerequisite, find, output, workspace};

/// The BPF target of a little-endian host.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The oldest rustc the workspace builds with; the same as `rust-version` in Cargo.toml.
pub(crate) const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// Where a sysroot has the sources of `core`.
const CORE: &str = "lib/rustlib/src/rust/library/core/Cargo.toml";

/// A compiler that can build for BPF.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// Debian's own /usr/bin/rustc.
    Debian,
    /// rustup's nightly.
    Nightly,
}

impl Toolchain {
    /// The one that is installed with all that the build needs, if any.
    pub(crate) fn installed() -> Option<Self> {
        [Self::Debian, Self::Nightly].into_iter().find(|toolchain| toolchain.is_complete())
    }

    fn is_complete(self) -> bool {
        let has_cargo = match self {
            Self::Debian => Path::new("/usr/bin/cargo").exists(),
            Self::Nightly => find("rustup").is_some(),
        };
        let sources = || Some(Path::new(&self.rustc(&["--print", "sysroot"])?).join(CORE).exists());
        let version = || parse_version(self.rustc(&["--version"])?.split(' ').nth(1)?);
        has_cargo && version() >= Some(OLDEST_RUSTC) && sources() == Some(true)
    }

    fn rustc(self, arguments: &[&str]) -> Option<String> {
        let mut rustc = match self {
            Self::Debian => Command::new("/usr/bin/rustc"),
            Self::Nightly => Command::new("rustc"),
        };
        if self == Self::Nightly {
            rustc.arg("+nightly").env("RUSTUP_AUTO_INSTALL", "0");
        }
        output(rustc.args(arguments)).ok()
    }

    /// `cargo SUBCOMMAND` for the BPF object, with this compiler.
    pub(crate) fn cargo(self, subcommand: &str) -> Result<Command> {
        let mut cargo = match (self, subcommand) {
            // cargo prefers rustup's cargo-clippy in ~/.cargo/bin, which does not know /usr/bin/rustc.
            (Self::Debian, "clippy") => Command::new("/usr/bin/cargo-clippy"),
            (Self::Debian, _) => Command::new("/usr/bin/cargo"),
            (Self::Nightly, _) => Command::new("cargo"),
        };
        match self {
            Self::Debian => {
                cargo
                    .env("CARGO", "/usr/bin/cargo")
                    .env("RUSTC", "/usr/bin/rustc")
                    .env_remove("RUSTUP_TOOLCHAIN");
            }
            Self::Nightly => {
                cargo.arg("+nightly").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("CARGO");
            }
        }
        let linker = find("bpf-linker").unwrap_or_else(|| PathBuf::from("bpf-linker"));
        let workspace = workspace()?;
        cargo
            .arg(subcommand)
            .args(["--package", "tcpw-ebpf", "--release", "--target", BPF_TARGET, "-Zbuild-std=core"])
            .arg("--target-dir")
            .arg(workspace.join("target/bpf"))
            .current_dir(workspace)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
            .env("CARGO_ENCODED_RUSTFLAGS", flags()?)
            // Set by `cargo xtask` for its own compiler's libraries.
            .env_remove("LD_LIBRARY_PATH");
        Ok(cargo)
    }
}

/// The two leading numbers of a version.
pub(crate) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn flags() -> Result<String> {
    let arch = match ARCH {
        "x86_64" | "aarch64" => ARCH,
        other => {
            return Err(anyhow!(Prerequisite(format!(
                "the gate is built for x86_64 and aarch64, not for {other}: use such a machine"
            ))));
        }
    };
    let arch = format!("--cfg=bpf_target_arch=\"{arch}\"");
    Ok([arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"].join("\x1f"))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn version_is_read_from_debian_and_rustc() {
        assert_eq!(parse_version("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(parse_version("1.95.0"), Some((1, 95)));
        assert_eq!(parse_version("(none)"), None);
    }
}
