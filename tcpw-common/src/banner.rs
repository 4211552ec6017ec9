//! A banner for an allowed client: text that is sent before the daemon's first bytes.

/// Most bytes of one: the kernel keeps it with the connection's socket until it is sent.
pub const MAX_TEXT: usize = 4096;

/// A banner that is not sent yet.
///
/// Layout: 8 + 2 × 4 + 4096 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banner {
    /// Cookie of the connection's socket; 0 while there is none.
    pub cookie: u64,
    /// Bytes of the text, 1 to [`MAX_TEXT`].
    pub length: u32,
    /// 0.
    pub reserved: u32,
    /// The text; bytes after its length are not used.
    pub text: [u8; MAX_TEXT],
}
const _: () = assert!(size_of::<Banner>() == 4112);

impl Banner {
    /// A banner for a connection that does not exist yet; `None` if it is empty or too long.
    pub fn new(text: &[u8]) -> Option<Self> {
        let length = u32::try_from(text.len()).ok().filter(|length| *length > 0)?;
        let mut banner = Self { cookie: 0, length, reserved: 0, text: [0; MAX_TEXT] };
        banner.text.get_mut(..text.len())?.copy_from_slice(text);
        Some(banner)
    }
}

#[cfg(feature = "user")]
// SAFETY: `#[repr(C)]`, no padding, every bit pattern valid.
unsafe impl aya::Pod for Banner {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fits_to_the_last_byte_and_no_further() {
        assert_eq!(Banner::new(b""), None);
        assert_eq!(Banner::new(&[b'x'; MAX_TEXT + 1]), None);
        let whole = Banner::new(&[b'x'; MAX_TEXT]).expect("a banner");
        assert_eq!((whole.length, whole.text[MAX_TEXT - 1]), (4096, b'x'));
        let short = Banner::new(b"hi").expect("a banner");
        assert_eq!((short.length, &short.text[..3]), (2, &b"hi\0"[..]));
    }
}
