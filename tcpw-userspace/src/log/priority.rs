//! Facility and level of a line.
//!
//! authpriv, the secure log of the tables' readers; sshd logs to auth, tcpd and xinetd to
//! daemon. Levels are libwrap's defaults (`allow_severity`, `deny_severity`): info and
//! warning. A rule's `severity` replaces them.
//! Source: syslog.h; tcp_wrappers 7.6 `options.c`, `severity_option`.

/// authpriv.info.
pub const ACCEPTED: i32 = libc::LOG_AUTHPRIV | libc::LOG_INFO;

/// authpriv.warning.
pub const REFUSED: i32 = libc::LOG_AUTHPRIV | libc::LOG_WARNING;

/// `default`, unless a rule has a severity. One without a facility (`severity info`) changes the level only.
pub fn of(default: i32, severity: Option<i32>) -> i32 {
    match severity {
        None => default,
        Some(level) if level & libc::LOG_FACMASK == 0 => (default & libc::LOG_FACMASK) | level,
        Some(severity) => severity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_replaces_level_and_facility_if_it_has_one() {
        assert_eq!(of(REFUSED, None), 10 << 3 | 4);
        assert_eq!(of(REFUSED, Some(libc::LOG_NOTICE)), 10 << 3 | 5);
        assert_eq!(of(ACCEPTED, Some(libc::LOG_LOCAL3 | libc::LOG_ALERT)), 19 << 3 | 1);
    }
}
