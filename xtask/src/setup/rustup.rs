//! The rustup way: a nightly with rust-src, and bpf-linker's released binary.

use std::{env::consts::ARCH, fs, process::Command};

use anyhow::{Context, Result, anyhow};

use crate::command::{Prerequisite, find, installed, output, run, say};

const LINKER_VERSION: &str = "0.13.0";

/// A nightly with the sources of `core`.
pub(crate) fn install_nightly() -> Result<()> {
    say("rustup toolchain install nightly --component rust-src");
    run(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]))
        .map_err(|_failed| {
            anyhow!(Prerequisite(
                "rustup could not install nightly with rust-src, and apt does not offer rust-web-src: give this machine \
                 access to static.rust-lang.org or to Debian's security archive, then `cargo xtask setup`"
                    .into()
            ))
        })
}

/// bpf-linker as its project releases it: it carries its own LLVM.
pub(crate) fn install_linker() -> Result<()> {
    let directory = installed().context("no home directory to install bpf-linker to")?;
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let url = format!(
        "https://github.com/aya-rs/bpf-linker/releases/download/v{LINKER_VERSION}/bpf-linker-{ARCH}-unknown-linux-musl.tar.zst"
    );
    say(format_args!("installing bpf-linker {LINKER_VERSION} to {}", directory.display()));
    run(Command::new("sh")
        .args(["-ec", r#"curl -fsSL "$1" -o "$2/bpf-linker.tar.zst"; tar -C "$2" --zstd -xf "$2/bpf-linker.tar.zst" bpf-linker; rm "$2/bpf-linker.tar.zst""#, "install", &url])
        .arg(&directory))
    .map_err(|_failed| {
        anyhow!(Prerequisite(format!(
            "could not fetch bpf-linker: install it from {url} to a directory of the PATH, then `cargo xtask setup`"
        )))
    })
}

/// clippy of the nightly.
pub(crate) fn install_nightly_clippy() -> Result<()> {
    add_component("nightly", "clippy")
}

/// rustfmt and clippy of the toolchain that runs this command.
pub(crate) fn install_host_components() -> Result<()> {
    for (component, program) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if output(Command::new("cargo").args([program, "--version"])).is_ok() {
            continue;
        }
        if find("rustup").is_none() {
            return Err(anyhow!(Prerequisite(format!("`cargo {program}` is missing: install {component}"))));
        }
        say(format_args!("rustup component add {component}"));
        run(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

fn add_component(toolchain: &str, component: &str) -> Result<()> {
    let there =
        output(Command::new("cargo").arg(format!("+{toolchain}")).args([component, "--version"])).is_ok();
    if there {
        return Ok(());
    }
    say(format_args!("rustup component add {component} --toolchain {toolchain}"));
    run(Command::new("rustup").args(["component", "add", component, "--toolchain", toolchain]))
}
