//! The names that programs give libwrap, where they differ from the name of their file.
//!
//! In: the basename of an executable. Out: the daemon name that it passes to libwrap. Only programs that Debian links
//! with libwrap, and RHEL 7 did. Those whose name stands in their own configuration (bacula, cyrus-imapd, dovecot, sslh,
//! stunnel) are named by settings, and `tcpw check` says which: `check/configured.rs`.

/// Basename, name for libwrap.
///
/// Source: of Debian 12's binaries the argument of the call of request_init() or hosts_ctl(), and their manual pages.
/// Every other program that depends on libwrap0 and passes a fixed name passes that of its file: apcupsd, argus,
/// auditd, conmand, conserver, danted, diod, ftpd of inetutils, ftp-proxy, imap4d, lmtpd and pop3d of mailutils, lshd,
/// mosquitto, nrpe, opensm, p910nd, pptpd, proftpd, rpcbind, sendmail, slapd, snmpd, snmptrapd, socat, sshd,
/// supfilesrv, syslog-ng, tftpd-hpa, upsd, usbipd, vsftpd.
const NAMES: [(&[u8], &[u8]); 6] = [
    (b"atftpd", b"in.tftpd"),
    (b"imapproxyd", b"in.imapproxyd"),
    (b"pulseaudio", b"pulseaudio-native"),
    (b"rpc.mountd", b"mountd"),
    (b"rpc.rquotad", b"rquotad"),
    (b"rpc.statd", b"statd"),
];

/// The name that the program passes to libwrap, if it differs.
pub(super) fn libwrap_name(executable: &[u8]) -> Option<&'static [u8]> {
    NAMES.iter().find(|(name, _)| *name == executable).map(|(_, name)| *name)
}
