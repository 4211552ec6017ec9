//! Ports, which the kernel hands over as u32.

/// A port in host order; the kernel leaves the upper half 0.
#[inline(always)]
pub(crate) const fn port(value: u32) -> u16 {
    (value & 0xffff) as u16
}
