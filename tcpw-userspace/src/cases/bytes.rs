//! The strings of a case are bytes, because tables and host names are.
//!
//! Source: Python's `surrogateescape`: a byte that is not UTF-8 is written `\udc80` to `\udcff`.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A JSON string as bytes; borrowed from the input unless it has escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JsonBytes<'a>(pub Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonBytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;

        impl<'de> Visitor<'de> for Strings {
            type Value = JsonBytes<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<JsonBytes<'de>, E> {
                // Raw bytes, surrogates cannot be among them.
                Ok(JsonBytes(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<JsonBytes<'de>, E> {
                Ok(JsonBytes(Cow::Owned(unescaped(bytes))))
            }
        }

        deserializer.deserialize_bytes(Strings)
    }
}

/// Turns the three bytes of an encoded surrogate back into the byte it stands for.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, behind) {
            // U+DC80 to U+DCFF.
            (0xed, [second @ (0xb2 | 0xb3), third, after @ ..]) => {
                bytes.push((second & 1) << 6 | (third & 0x3f) | 0x80);
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<u8> {
        serde_json::from_str::<JsonBytes<'_>>(json).unwrap().0.into_owned()
    }

    #[test]
    fn surrogates_are_bytes() {
        assert_eq!(read(r#""a\udc80\udcff\udcc3\udcb6""#), b"a\x80\xff\xc3\xb6");
        assert_eq!(read(r#""\u00f6ö\n""#), "öö\n".as_bytes());
        assert_eq!(read(r#""\udc7f""#), b"\xed\xb1\xbf", "U+DC7F stands for no byte: it is kept as it is");
    }

    #[test]
    fn plain_strings_are_borrowed() {
        assert!(matches!(serde_json::from_str(r#""10.1.2.3""#), Ok(JsonBytes(Cow::Borrowed(_)))));
    }
}
