//! `cargo xtask check`: format, lints, documentation; every warning is an error.

use anyhow::Result;

use crate::{
    build::{WORKSPACE, build_object},
    command::{cargo, run, say},
    setup,
};

pub(crate) fn main() -> Result<()> {
    let toolchain = setup::for_check()?;

    say("rustfmt");
    run(cargo("fmt")?.args(["--all", "--check"]))?;

    // tcpw-userspace embeds the object, so it must be there before the host's clippy.
    build_object(toolchain)?;
    say("clippy, BPF target");
    run(toolchain.cargo("clippy")?.args(["--", "-Dwarnings"]))?;
    say("clippy, host");
    run(cargo("clippy")?.args(WORKSPACE).args(["--all-targets", "--", "-Dwarnings"]))?;

    say("rustdoc");
    run(cargo("doc")?.args(WORKSPACE).arg("--no-deps").env("RUSTDOCFLAGS", "-Dwarnings"))?;
    say("check: all clean");
    Ok(())
}
