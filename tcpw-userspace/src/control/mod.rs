//! Status and commands to a running daemon.
