//! `cargo xtask run`: the demo in its sandbox, or tcpw itself on this host.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::{Result, anyhow};

use crate::{
    build::{Profile, build_object, build_programs},
    command::{Prerequisite, is_root},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of `tcpw run` on this host; none: the demo in a sandbox
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if !is_root() {
        return Err(anyhow!(Prerequisite(
            "loading BPF programs and making network namespaces needs root: use `sudo -E env PATH=$PATH cargo xtask run`".into()
        )));
    }
    let toolchain = setup::for_build()?;
    let host = !arguments.arguments.is_empty();
    if !host {
        setup::for_demo()?;
    }
    build_object(toolchain)?;
    let mut program = if host {
        let mut tcpw = Command::new(build_programs(Profile::Release, &["tcpw"])?);
        tcpw.arg("run").args(&arguments.arguments);
        tcpw
    } else {
        let demo = build_programs(Profile::Release, &["tcpw-demo", "tcpw"])?;
        let mut command = Command::new(&demo);
        command.env("TCPW_BIN", demo.with_file_name("tcpw"));
        command
    };
    Err(anyhow::Error::from(program.exec()).context(format!("start {}", program.get_program().display())))
}
