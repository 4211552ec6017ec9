//! Facts of this machine: requirements, files and users, network namespaces, sockets.
//!
//! In: nothing but this machine. Out: what others ask of it. Invariant: nothing is changed here but that a
//! connection is ended on demand.

mod connection;
mod facts;
mod namespace;
mod requirements;
pub(crate) mod sock_diag;

pub use connection::{Ends, cookies, destroy, inodes};
pub use facts::System;
pub use namespace::{Namespace, Namespaces};
pub use requirements::{Missing, cgroup_scope, cgroup2_root, kernel, pin_dir, privileges};

pub(crate) use crate::kernel::boot_ns;
