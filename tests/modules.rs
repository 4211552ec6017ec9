//! What needs a module of the kernel that not every kernel has: nfsd, VLAN devices.
//!
//! In a machine of `cargo xtask vm` always; on a host with these modules by `cargo xtask test --test
//! modules -- --include-ignored`. Elsewhere these tests are no part of the run.

#[path = "modules/nfsd.rs"]
mod nfsd;
#[path = "modules/vlan.rs"]
mod vlan;
