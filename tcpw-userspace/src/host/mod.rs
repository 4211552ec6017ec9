//! Facts of this machine: what it must have, cgroups, files and users, sockets, network namespaces, the clock,
//! priorities; processes that the daemon has no right to start, and how they give up root.
//!
//! In: system calls, /proc, netlink. Out: plain values and descriptors. Invariant: nothing here knows of
//! tables, policies or the daemon: it uses no other room.

mod cgroups;
mod clock;
mod devices;
mod error;
mod files;
mod forbidden_calls;
mod libraries;
mod link_networks;
mod memory;
mod netlink;
mod netns;
mod own_dir;
mod priority;
mod random;
mod requirements;
mod sessions;
pub mod sock_diag;
mod socket;
mod starter;
mod unprivileged;

pub use cgroups::{Cgroups, cgroup_of, cgroup2_root, is_root_cgroup};
pub use clock::{boot_ns, boot_time, coarse_ns};
pub use devices::{Device, DeviceAddress, Network, is_device_name};
pub(crate) use error::reason;
pub use files::{Account, FileKind, FileStatus, HostFiles, System};
pub(crate) use forbidden_calls::forbid_calls;
pub use libraries::loaded_library;
pub use link_networks::{AddressNotices, LinkNetwork};
pub use memory::{give_memory_back, trim_memory};
pub use netns::{Namespace, Namespaces, netns_cookie_of, own_netns_cookie};
pub(crate) use own_dir::is_own;
pub use own_dir::{NotOwn, append_to_own_file, make_own_dir, open_own_dir};
pub use priority::{set_ordinary, set_preferred, set_real_time};
pub(crate) use random::fill_at_random;
pub use requirements::{Missing, can_pin_in, kernel, privileges};
pub use sessions::{Session, sessions};
pub use sock_diag::Incomplete;
pub use socket::{netns_cookie, raise_file_limit, socket_cookie};
pub(crate) use socket::{option_of, peer_is_in_group, socket_option};
pub use starter::{COMMANDS, NAME_LOOKUPS, STARTER, Starter, starter_main};
pub(crate) use unprivileged::{
    become_user, close_inherited, drop_bounding, end_with, give_up_root, ordinary_user,
};
