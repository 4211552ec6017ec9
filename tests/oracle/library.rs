//! libwrap.so.0 itself, as a program that uses it sees it.
//!
//! Source: tcp_wrappers 7.6.q (Debian) `tcpd.h`.

use std::{
    env,
    ffi::{CString, c_char, c_int, c_void},
    net::IpAddr,
    os::fd::RawFd,
};

use anyhow::{Context, Result};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tcpw_tests::differential::{Case, Text};

// Keys of request_init().
const RQ_FILE: c_int = 1;
const RQ_DAEMON: c_int = 2;
const RQ_USER: c_int = 3;
const RQ_CLIENT_NAME: c_int = 4;
const RQ_CLIENT_ADDR: c_int = 5;
const RQ_CLIENT_SIN: c_int = 6;
const RQ_SERVER_NAME: c_int = 7;
const RQ_SERVER_ADDR: c_int = 8;
const RQ_SERVER_SIN: c_int = 9;
const RQ_END: c_int = 0;

/// Offset of `pid` in `struct request_info`: behind `int fd; char user[128]; char daemon[128];`.
const PID_OFFSET: usize = 4 + 128 + 128;
/// The process id in all expansions.
const PID: &[u8] = b"4242\0";
/// More than `struct request_info` has.
const REQUEST_WORDS: usize = 1024;
/// Logs the matched rule and its options, but does not act otherwise.
const VERBOSE: c_int = 2;

type RequestInit = unsafe extern "C" fn(*mut c_void, ...) -> *mut c_void;
type HostsAccess = unsafe extern "C" fn(*mut c_void) -> c_int;

/// What remains in the process after a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aftermath {
    /// hosts_access() said yes.
    pub(crate) allowed: bool,
    /// `allow_severity`.
    pub(crate) allow_severity: c_int,
    /// `deny_severity`.
    pub(crate) deny_severity: c_int,
    /// `rfc931_timeout`.
    pub(crate) rfc931_timeout: c_int,
}

/// The loaded library.
pub(crate) struct Libwrap {
    request_init: RequestInit,
    hosts_access: HostsAccess,
    hosts_allow_table: *mut *const c_char,
    hosts_deny_table: *mut *const c_char,
    hosts_access_verbose: *mut c_int,
    resident: *mut c_int,
    allow_severity: *mut c_int,
    deny_severity: *mut c_int,
    rfc931_timeout: *mut c_int,
    /// The functions and variables are its.
    _library: Library,
}

impl Libwrap {
    /// Loads it.
    ///
    /// # Errors
    /// It is not installed.
    pub(crate) fn load() -> Result<Self> {
        let name = env::var_os("LIBWRAP").unwrap_or_else(|| "libwrap.so.0".into());
        // Bound now, and not in the process of each case.
        // SAFETY: libwrap has no initialisers.
        let library = unsafe { Library::open(Some(&name), RTLD_NOW | RTLD_LOCAL) }
            .with_context(|| format!("load {}: apt-get install libwrap0", name.display()))?;
        // SAFETY: the types are those of tcpd.h and hosts_access.c; all of them outlive the
        // symbols, for the library is kept.
        unsafe {
            Ok(Self {
                request_init: *library.get(b"request_init\0")?,
                hosts_access: *library.get(b"hosts_access\0")?,
                hosts_allow_table: *library.get(b"hosts_allow_table\0")?,
                hosts_deny_table: *library.get(b"hosts_deny_table\0")?,
                hosts_access_verbose: *library.get(b"hosts_access_verbose\0")?,
                resident: *library.get(b"resident\0")?,
                allow_severity: *library.get(b"allow_severity\0")?,
                deny_severity: *library.get(b"deny_severity\0")?,
                rfc931_timeout: *library.get(b"rfc931_timeout\0")?,
                _library: library,
            })
        }
    }

    /// hosts_access() on a case; to be asked once per process.
    pub(crate) fn ask(&self, case: &Case, allow: &str, deny: &str, socket: RawFd) -> Aftermath {
        let (allow, deny) = (c_text(allow.as_bytes()), c_text(deny.as_bytes()));
        // libwrap's own word for what was looked up and is not known.
        let given = |text: &Option<Text>| c_text(text.as_ref().map_or(b"unknown", Text::as_bytes));
        let daemon = c_text(case.daemon.as_bytes());
        let (user, server_name, server_addr) =
            (given(&case.client_user), given(&case.server_name), given(&case.server_addr));
        let (client_name, client_addr) = (given(&case.client_name), given(&case.client_addr));
        let client_end = case.client_port.map(|port| end(case.client_addr.as_ref(), port));
        let server_end = case.server_port.map(|port| end(case.server_addr.as_ref(), port));
        let mut request = [0_u64; REQUEST_WORDS];
        let info: *mut c_void = request.as_mut_ptr().cast();
        // SAFETY: `info` is aligned and larger than the structure; every key but the last is
        // followed by a value of its type; an end without a port comes as the key of the daemon
        // again, for there is no key without effect; all texts outlive the request.
        unsafe {
            *self.hosts_allow_table = allow.as_ptr();
            *self.hosts_deny_table = deny.as_ptr();
            *self.hosts_access_verbose = VERBOSE;
            if case.resident {
                *self.resident = 1;
            }
            let as_end = |key: c_int, end: &Option<[u64; 16]>| match end {
                Some(end) => (key, end.as_ptr().cast::<c_void>()),
                None => (RQ_DAEMON, daemon.as_ptr().cast()),
            };
            let (client_key, client_end) = as_end(RQ_CLIENT_SIN, &client_end);
            let (server_key, server_end) = as_end(RQ_SERVER_SIN, &server_end);
            (self.request_init)(
                info,
                RQ_DAEMON,
                daemon.as_ptr(),
                RQ_FILE,
                socket,
                RQ_USER,
                user.as_ptr(),
                RQ_CLIENT_NAME,
                client_name.as_ptr(),
                RQ_CLIENT_ADDR,
                client_addr.as_ptr(),
                RQ_SERVER_NAME,
                server_name.as_ptr(),
                RQ_SERVER_ADDR,
                server_addr.as_ptr(),
                client_key,
                client_end,
                server_key,
                server_end,
                RQ_END,
            );
            info.cast::<u8>().add(PID_OFFSET).copy_from(PID.as_ptr(), PID.len());
            let allowed = (self.hosts_access)(info) != 0;
            Aftermath {
                allowed,
                allow_severity: *self.allow_severity,
                deny_severity: *self.deny_severity,
                rfc931_timeout: *self.rfc931_timeout,
            }
        }
    }
}

/// A C text; it ends at the first NUL.
fn c_text(text: &[u8]) -> CString {
    let visible = text.split(|byte| *byte == 0).next().unwrap_or_default();
    CString::new(visible).unwrap_or_default()
}

/// A `struct sockaddr_storage`; an address that is none is 0.0.0.0.
fn end(address: Option<&Text>, port: u16) -> [u64; 16] {
    let address = address.and_then(|text| str::from_utf8(text.as_bytes()).ok()).unwrap_or_default();
    let plain = address.split('%').next().unwrap_or_default();
    let mut bytes = [0_u8; 128];
    let port = port.to_be_bytes();
    let (family, at, octets) = match (address.parse(), plain.parse()) {
        (Ok(IpAddr::V4(address)), _) => (libc::AF_INET, 4, address.octets().to_vec()),
        (_, Ok(IpAddr::V6(address))) => (libc::AF_INET6, 8, address.octets().to_vec()),
        _ => (libc::AF_INET, 4, vec![0; 4]),
    };
    let family = libc::sa_family_t::try_from(family).unwrap_or_default();
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[2..4].copy_from_slice(&port);
    bytes[at..at + octets.len()].copy_from_slice(&octets);
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    words
}
