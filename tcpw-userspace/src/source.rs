//! Reads and watches hosts.allow, hosts.deny and pattern files.
