//! `cargo xtask build`: the gate, then the binary that carries it.
//!
//! Out: target/bpf/tcpw-ebpf (the object), and `tcpw` in cargo's target directory.
//! The object has a target directory of its own, so that neither build undoes the other's.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};

use crate::{
    command::{cargo, run, target, workspace},
    newest::newest_source,
    setup,
    toolchain::{BPF_TARGET, Toolchain},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Builds tcpw unoptimised; the gate is always optimised
    #[arg(long)]
    debug: bool,
}

/// What every unoptimised build selects, whatever of it is wanted: cargo unifies the features of what is selected, so that
/// with another selection it builds the library once more.
pub(crate) const WORKSPACE: [&str; 3] = ["--workspace", "--exclude", "tcpw-ebpf"];

/// How the user-space programs are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let toolchain = setup::for_build()?;
    build_object(toolchain)?;
    let profile = if arguments.debug { Profile::Debug } else { Profile::Release };
    build_programs(profile, &["tcpw"])?;
    Ok(())
}

/// Builds the BPF object and puts it where tcpw-userspace's build script looks for it.
pub(crate) fn build_object(toolchain: Toolchain) -> Result<()> {
    let started = SystemTime::now();
    run(&mut toolchain.cargo("build")?)?;

    let workspace = workspace()?;
    let built = workspace.join("target/bpf").join(BPF_TARGET).join("release/tcpw-ebpf");
    let object = workspace.join("target/bpf/tcpw-ebpf");
    let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    if fs::read(&object).is_ok_and(|present| present == bytes) {
        // Untouched unless it would look stale, so that tcpw is not built again for nothing.
        return refresh(&workspace, &object, started).with_context(|| format!("date {}", object.display()));
    }
    fs::write(&object, bytes).with_context(|| format!("write {}", object.display()))?;
    // A source saved while the compiler ran is newer than the object.
    date(&object, started).with_context(|| format!("date {}", object.display()))
}

/// Builds a tcpw whose maps have another layout, for the test of upgrades.
///
/// Out: target/other-layout/tcpw, and its object beside it. To be called before the other builds:
/// the last ones leave their files where cargo puts them.
pub(crate) fn build_other_layout(toolchain: Toolchain) -> Result<PathBuf> {
    let (workspace, target) = (workspace()?, target()?);
    let directory = target.join("other-layout");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    run(toolchain.cargo("build")?.args(["--features", "other-layout"]))?;
    let object = directory.join("tcpw-ebpf");
    copy(&workspace.join("target/bpf").join(BPF_TARGET).join("release/tcpw-ebpf"), &object)?;
    let mut build = cargo("build")?;
    build
        .args(WORKSPACE)
        .args(["--bin", "tcpw", "--features", "tcpw-userspace/other-layout"])
        .env("TCPW_BPF_OBJECT", &object);
    run(&mut build)?;
    let program = directory.join("tcpw");
    copy(&target.join(Profile::Debug.directory()).join("tcpw"), &program)?;
    Ok(program)
}

/// Copies what was built, unless it is there: a new date would build again what hangs on it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    // A running one is not written to.
    drop(fs::remove_file(to));
    fs::copy(from, to).with_context(|| format!("write {}", to.display()))?;
    Ok(())
}

/// Builds the named programs of user space; the path of the first.
pub(crate) fn build_programs(profile: Profile, programs: &[&str]) -> Result<PathBuf> {
    let mut build = cargo("build")?;
    match profile {
        Profile::Debug => build.args(WORKSPACE),
        Profile::Release => build.arg("--release"),
    };
    for program in programs {
        build.args(["--bin", program]);
        if profile == Profile::Release {
            let package = if *program == "tcpw" { "tcpw-userspace" } else { "tcpw-tests" };
            build.args(["--package", package]);
        }
    }
    run(&mut build)?;
    let first = programs.first().context("no program to build")?;
    Ok(target()?.join(profile.directory()).join(first))
}

fn refresh(workspace: &Path, object: &Path, started: SystemTime) -> std::io::Result<()> {
    if object.metadata()?.modified()? < newest_source(workspace)? { date(object, started) } else { Ok(()) }
}

fn date(object: &Path, time: SystemTime) -> std::io::Result<()> {
    fs::File::options().write(true).open(object)?.set_modified(time)
}
