//! The key `log`: one destination, or a list of them.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use toml::Spanned;

use super::ConfigError;
use crate::log::LogTarget;

/// What is written behind the key.
pub(super) enum Destinations {
    /// A word.
    One(String),
    /// A list of words.
    Several(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for Destinations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Destinations;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a log destination or a list of them")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Destinations, E> {
                Ok(Destinations::One(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Destinations, A::Error> {
                let mut all = Vec::new();
                while let Some(word) = words.next_element()? {
                    all.push(word);
                }
                Ok(Destinations::Several(all))
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// The destinations; `wrong` makes the error of a place in the file.
pub(super) fn read(
    written: Spanned<Destinations>,
    wrong: &impl Fn(Range<usize>, String) -> ConfigError,
) -> Result<Vec<LogTarget>, ConfigError> {
    let whole = written.span();
    let words = match written.into_inner() {
        Destinations::One(word) => vec![Spanned::new(whole.clone(), word)],
        Destinations::Several(words) => words,
    };
    let one = |word: &Spanned<String>| {
        word.get_ref().parse().map_err(|error| wrong(word.span(), format!("{error}")))
    };
    let targets: Vec<LogTarget> = words.iter().map(one).collect::<Result<_, _>>()?;
    LogTarget::check(&targets)
        .map_err(|(at, error)| wrong(words.get(at).map_or(whole, Spanned::span), error.to_string()))?;
    Ok(targets)
}
