//! Netgroups.

use std::{
    ffi::{CString, c_char, c_int},
    fs, ptr,
};

// libc has no binding of it.
unsafe extern "C" {
    fn innetgr(
        netgroup: *const c_char,
        host: *const c_char,
        user: *const c_char,
        domain: *const c_char,
    ) -> c_int;
}

/// innetgr(3): whether (host, user, this host's NIS domain) is in a netgroup; `None` matches any.
pub fn in_netgroup(group: &[u8], host: Option<&[u8]>, user: Option<&[u8]>) -> bool {
    let text = |text: Option<&[u8]>| text.map(CString::new).transpose();
    // A text with a NUL in it is no name.
    let (Ok(group), Ok(host), Ok(user)) = (CString::new(group), text(host), text(user)) else {
        return false;
    };
    let domain = nis_domain();
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: each argument is null or a string that ends in NUL and outlives the call.
    unsafe { innetgr(group.as_ptr(), pointer(&host), pointer(&user), pointer(&domain)) == 1 }
}

/// The NIS domain of this host, if it is in one.
fn nis_domain() -> Option<CString> {
    let text = fs::read_to_string("/proc/sys/kernel/domainname").ok()?;
    let name = text.trim();
    (!matches!(name, "" | "(none)")).then(|| CString::new(name).ok())?
}

#[cfg(test)]
mod tests {
    use super::in_netgroup;

    #[test]
    fn nobody_is_in_a_netgroup_that_is_not() {
        assert!(!in_netgroup(b"tcpw-no-such-netgroup", Some(b"host"), None));
        assert!(!in_netgroup(b"a\0b", None, None));
    }
}
