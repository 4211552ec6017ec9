//! The languages of super-servers, without what looks for listeners.

#[path = "../../../tcpw-userspace/src/listeners/inetd.rs"]
pub mod inetd;
#[path = "../../../tcpw-userspace/src/listeners/services.rs"]
pub mod services;
#[path = "../../../tcpw-userspace/src/listeners/socket_unit.rs"]
pub mod socket_unit;
#[path = "../../../tcpw-userspace/src/listeners/xinetd.rs"]
pub mod xinetd;
