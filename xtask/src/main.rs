//! Developer commands of tcpw: `cargo xtask setup | build | run | check | test | vm | conformance | simulate | fuzz | bench`.
//!
//! Every command first sets up what it needs, so each works as the first one typed.
//! An error is one line and what to do; exit code 2 says that the call or the
//! machine was at fault, 1 that the work failed.

mod bench;
mod build;
mod check;
mod command;
mod conformance;
mod fuzz;
mod newest;
mod run;
mod setup;
mod simulate;
mod test;
mod toolchain;
mod vm;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::command::Prerequisite;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of tcpw", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what is missing for the eBPF build; changes nothing when all is there
    Setup(setup::Arguments),
    /// Builds the gate (tcpw-ebpf), then the tcpw binary that carries it
    Build(build::Arguments),
    /// Shows tcpw guarding real daemons in a sandbox; with `-- ARGS` runs `tcpw run ARGS` on this host
    Run(run::Arguments),
    /// rustfmt, clippy on the host and the BPF target, rustdoc; warnings are errors
    Check,
    /// Builds, then runs every test; arguments go to `cargo test`
    Test(test::Arguments),
    /// Runs the kernel's tests on Debian's 6.1 and 6.12 kernels, in machines of their own
    Vm(vm::Arguments),
    /// Measures a release build: speed, memory, and the programs it is compared with
    Bench(bench::Arguments),
    /// Feeds the parsers with what nobody would write, for some seconds each
    Fuzz(fuzz::Arguments),
    /// Compares tcpw with the real libwrap on generated cases
    Conformance(conformance::Arguments),
    /// Runs the daemon in memory through histories of many seeds, and holds it to its rules
    Simulate(simulate::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Setup(arguments) => setup::main(&arguments),
        Task::Build(arguments) => build::main(&arguments),
        Task::Run(arguments) => run::main(&arguments),
        Task::Check => check::main(),
        Task::Test(arguments) => test::main(&arguments),
        Task::Vm(arguments) => vm::main(&arguments),
        Task::Bench(arguments) => bench::main(&arguments),
        Task::Fuzz(arguments) => fuzz::main(&arguments),
        Task::Conformance(arguments) => conformance::main(&arguments),
        Task::Simulate(arguments) => simulate::main(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "xtask: {error:#}"));
            ExitCode::from(if error.is::<Prerequisite>() { 2 } else { 1 })
        }
    }
}
