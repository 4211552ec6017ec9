//! Strings of a case: bytes, as tables and names are.
//!
//! Source: Python's `surrogateescape`: in JSON a byte that is no UTF-8 is written `\udc80` to `\udcff`.

use std::{fmt, fmt::Write as _};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, Visitor},
    ser::Error as _,
};
use serde_json::value::RawValue;

/// Where characters stand for bytes, 0x80 to 0xff, that are no UTF-8: in a private area.
const MARKS: u32 = 0xf600;

/// A string with any byte in it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As characters: those that stand for bytes are bytes.
    pub(super) fn from_marked(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        let mut buffer = [0; 4];
        for character in text.chars() {
            match u32::from(character).checked_sub(MARKS).map(u8::try_from) {
                Some(Ok(byte @ 0x80..)) => bytes.push(byte),
                _ => bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes()),
            }
        }
        Self(bytes)
    }

    /// [`Self::from_marked`], the other way.
    pub(super) fn to_marked(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            text += chunk.valid();
            text.extend(chunk.invalid().iter().filter_map(|byte| mark(*byte)));
        }
        text
    }
}

/// The character that stands for a byte.
pub(super) fn mark(byte: u8) -> Option<char> {
    char::from_u32(MARKS + u32::from(byte))
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut json = String::from("\"");
        for chunk in self.0.utf8_chunks() {
            let valid = serde_json::to_string(chunk.valid()).map_err(S::Error::custom)?;
            // The quotes around it, and not one that it ends with.
            json += &valid[1..valid.len() - 1];
            for byte in chunk.invalid() {
                write!(json, "\\udc{byte:02x}").map_err(S::Error::custom)?;
            }
        }
        json.push('"');
        RawValue::from_string(json).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;

        impl Visitor<'_> for Strings {
            type Value = Text;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(unescaped(bytes)))
            }
        }

        deserializer.deserialize_bytes(Strings).map_err(D::Error::custom)
    }
}

/// A surrogate comes as the three bytes UTF-8 would have for it, if it had any.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, behind) {
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
    use super::Text;

    #[test]
    fn every_byte_comes_back() {
        for bytes in [(0..=255).collect(), b"\"\xff\"".to_vec(), b"\xff\\\"\xff\"\"".to_vec()] {
            let text = Text(bytes);
            let json = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text);
            assert_eq!(Text::from_marked(&text.to_marked()), text);
        }
        let plain = "\"a\\\"\\u0000\\n\u{e9}\\ud83d\\ude00\\udcff\"";
        assert_eq!(
            serde_json::from_str::<Text>(plain).unwrap().as_bytes(),
            b"a\"\0\n\xc3\xa9\xf0\x9f\x98\x80\xff"
        );
    }
}
