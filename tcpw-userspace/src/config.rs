//! /etc/tcpw.toml.
