//! Members of the running kernel's structs.
//!
//! In: a pointer that the verifier knows, and the byte offsets that user space sets from the kernel's BTF:
//! rustc emits no CO-RE relocations. Out: the member's value, by a load that the verifier checks.

use core::ffi::c_void;

/// 0 means that this kernel has no such member, and the program does not use it.
macro_rules! offsets {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) static $name: u32 = 0;
    )*};
}

offsets! {
    SOCK_NUM SOCK_NET SOCK_FAMILY SOCK_PROTOCOL SOCK_TYPE SOCK_USERLOCKS SOCKET_SK NET_COOKIE TASK_PARENT
    TASK_TGID
}

/// Bit within the byte at [`SOCK_USERLOCKS`]: the member is a bit field in some kernels.
#[unsafe(no_mangle)]
pub(crate) static SOCK_USERLOCKS_SHIFT: u32 = 0;

/// The value of one of the offsets.
#[inline(always)]
pub(crate) fn offset(global: &'static u32) -> u32 {
    // SAFETY: a static of .rodata; volatile because user space sets it at load time.
    unsafe { core::ptr::read_volatile(global) }
}

/// # Safety
/// `base + offset` must be a member of type `T` of a kernel struct that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn read<T: Copy>(base: *const c_void, offset: u32) -> T {
    // SAFETY: by the contract of this function; the verifier turns it into a checked probe read.
    unsafe { base.cast::<u8>().add(offset as usize).cast::<T>().read_volatile() }
}
