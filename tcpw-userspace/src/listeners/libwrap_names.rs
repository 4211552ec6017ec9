//! The names that programs give libwrap, where they differ from the name of their file.
//!
//! In: the basename of an executable. Out: the daemon name that it passes to libwrap. Only programs that Debian links
//! with libwrap, or RHEL 7 did, and exim. Those whose name stands in their own configuration (bacula, cyrus-imapd,
//! dovecot, sslh, stunnel) are named by settings, and `tcpw check` says which: `check/configured.rs`.

/// Basename, name for libwrap.
///
/// Source: of each program of Debian 12 that depends on libwrap0, the argument of its call of request_init(),
/// request_set() or hosts_ctl(). exim: its specification, "Use of tcpwrappers"; Debian linked exim 3 with libwrap, and
/// calls exim 4, which it does not link, exim4.
///
/// Every other one that passes a fixed name, or that of `argv[0]`, passes the name of its file: apcupsd, apt-cacher-ng,
/// argus, auditd, conmand, conserver, danted, diod, ftp-proxy, ftpd (inetutils), gophernicus, imap4d, lmtpd and pop3d
/// (mailutils), imapproxyd, in.ntalkd, in.tftpd (tftpd-hpa), lshd, mosquitto, nrpe, opensm, p910nd, pptpd, proftpd
/// (mod_wrap), radium, rpcbind, sendmail, ser2net, slapd, snmpd, snmptrapd, socat, sshd, storescp, dcmqrscp and wlmscpfs
/// (dcmtk), supfilesrv, syslog-ng, upsd, usbipd, vsftpd.
///
/// A name counts for every listener of its program. Where a program uses another name at another port, `[names.port]` gives
/// it: pulseaudio-cli, pulseaudio-http and pulseaudio-simple; nis-plugin of ns-slapd (slapi-nis).
const NAMES: [(&[u8], &[u8]); 6] = [
    (b"atftpd", b"in.tftpd"),
    (b"exim4", b"exim"),
    (b"pulseaudio", b"pulseaudio-native"),
    (b"rpc.mountd", b"mountd"),
    (b"rpc.rquotad", b"rquotad"),
    (b"rpc.statd", b"statd"),
];

/// The name that the program passes to libwrap, if it differs.
pub(super) fn libwrap_name(executable: &[u8]) -> Option<&'static [u8]> {
    NAMES.iter().find(|(name, _)| *name == executable).map(|(_, name)| *name)
}
