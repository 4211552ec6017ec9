//! The `tcpw` binary.
use clap::Parser;
use tcpw_userspace::{cli::run::RunArgs, config::Config, daemon};
#[derive(Parser)]
enum Cli {
    Run(RunArgs),
}
fn main() -> anyhow::Result<()> {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Info)
        .format(|out, record| {
            use std::io::Write;
            writeln!(out, "tcpw: {}", record.args())
        })
        .init();
    let Cli::Run(args) = Cli::parse();
    let config = Config::load(args.config.as_deref(), &args)?;
    tokio::runtime::Runtime::new()?.block_on(daemon::run(config))
}
