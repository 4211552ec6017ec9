//! tcpw-demo: the seed's two files guard real daemons, seen from outside.
//!
//! What `cargo xtask run` shows. Every line of the final table is a real connection
//! held against the reference evaluator; the exit code is 1 if any differs.

mod acts;
mod attempts;
mod paper;
mod predict;

use std::process::ExitCode;

use paper::Paper;

fn main() -> ExitCode {
    let paper = Paper::new();
    if !nix::unistd::geteuid().is_root() {
        paper.error("loading BPF programs and making network namespaces needs root");
        return ExitCode::from(2);
    }
    match acts::play(&paper) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            paper.error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
