//! The `tcpw` binary.

fn main() -> std::process::ExitCode {
    tcpw_userspace::cli::main()
}
