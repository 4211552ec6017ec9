//! `cargo xtask bench`: what tcpw costs, measured on a release build.
//!
//! Exit code 1: slower than it must be.

mod held;

use anyhow::{Result, anyhow, bail};

use crate::{
    build::{Profile, build_object, build_programs},
    command::{Prerequisite, is_root},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn main(_: &Arguments) -> Result<()> {
    if !is_root() {
        return Err(anyhow!(Prerequisite(
            "measuring connections makes network namespaces, which needs root: \
             use `sudo -E env PATH=$PATH cargo xtask bench`"
                .into()
        )));
    }
    let toolchain = setup::for_build()?;
    build_object(toolchain)?;
    let tcpw = build_programs(Profile::Release, &["tcpw", "tcpw-bench", "testd"])?;
    let slow = held::held(&tcpw.with_file_name("tcpw-bench"), &tcpw)?;
    if slow.is_empty() { Ok(()) } else { bail!("too slow: {}", slow.join(", ")) }
}
