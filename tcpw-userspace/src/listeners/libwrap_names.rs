//! The names that programs give libwrap, where they differ from the name of their file.
//!
//! In: the basename of an executable. Out: the daemon name that it passes to libwrap. Only programs that Debian links
//! with libwrap, and RHEL 7 did; those whose name stands in their own configuration (bacula, cyrus-imapd, dovecot, sslh,
//! stunnel) are named by `[names.unit]` or `[names.port]`.

/// Basename, name for libwrap. Source: the manual pages rpc.mountd(8), rpc.statd(8), rpc.rquotad(8), of which Debian 12's
/// binaries hold these names; atftp 0.8.0 tftpd.c.
const NAMES: [(&[u8], &[u8]); 4] = [
    (b"atftpd", b"in.tftpd"),
    (b"rpc.mountd", b"mountd"),
    (b"rpc.rquotad", b"rquotad"),
    (b"rpc.statd", b"statd"),
];

/// The name that the program passes to libwrap, if it differs.
pub(super) fn libwrap_name(executable: &[u8]) -> Option<&'static [u8]> {
    NAMES.iter().find(|(name, _)| *name == executable).map(|(_, name)| *name)
}
