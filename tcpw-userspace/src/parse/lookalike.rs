//! Characters that look like those of the language, or like nothing, and are neither.
//!
//! libwrap compares bytes: such a character separates nothing, and a word with one in it is another word.
//! Source: Unicode, general categories Zs and Cf, block "Halfwidth and Fullwidth Forms", confusables.txt.

/// What a character is taken for by a person; `None` for every other one.
pub(crate) fn ascii(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{2028}' | '\u{2029}' | '\u{85}' => " ",
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' => "",
        '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2033}' => "\"",
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{b4}' => "'",
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => "-",
        '\u{2236}' | '\u{a789}' | '\u{fe55}' | '\u{fe13}' | '\u{fe30}' | '\u{2d0}' => ":",
        '\u{3001}' | '\u{ff64}' | '\u{60c}' | '\u{fe50}' => ",",
        '\u{3002}' | '\u{ff61}' | '\u{2024}' | '\u{fe52}' => ".",
        '\u{2044}' | '\u{2215}' => "/",
        '\u{2217}' | '\u{204e}' => "*",
        // Of a full-width character the plain one.
        '\u{ff01}'..='\u{ff5e}' => {
            let at = character as usize - 0xff01;
            PRINTABLE.get(at..=at)?
        }
        _ => return None,
    })
}

/// `!` to `~`.
const PRINTABLE: &str =
    "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

/// The Latin letter that a Greek or Cyrillic one looks like.
pub(crate) fn latin(character: char) -> Option<char> {
    const PAIRS: &[(&str, &str)] = &[
        // Cyrillic.
        ("АВЕКМНОРСТХЅІЈ", "ABEKMHOPCTXSIJ"),
        ("аеорсухѕіј", "aeopcyxsij"),
        // Greek.
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX"),
        ("ο", "o"),
    ];
    PAIRS.iter().find_map(|(from, to)| {
        let at = from.chars().position(|other| other == character)?;
        to.chars().nth(at)
    })
}

/// In words, for a message.
pub(crate) fn name(character: char) -> &'static str {
    match (character, ascii(character)) {
        ('\u{a0}' | '\u{202f}' | '\u{2007}', _) => "no-break space",
        ('\u{3000}', _) => "full-width space",
        ('\u{feff}', _) => "byte order mark",
        ('\u{ff01}'..='\u{ff5e}', _) => "full-width character",
        (_, Some(" ")) => "space of another kind",
        (_, Some("")) => "invisible character",
        (_, Some("\"" | "'")) => "typographic quote",
        (_, Some("-")) => "typographic dash",
        (_, Some("," | "." | ":")) => "punctuation of another script",
        (_, Some(_)) => "look-alike character",
        (_, None) => "letter of another alphabet",
    }
}

/// Text with every character that deceives the eye written as `\u{..}`.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if ascii(character).is_some() {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_width_characters_have_their_plain_ones() {
        for (wide, plain) in [('：', ":"), ('，', ","), ('Ａ', "A"), ('～', "~"), ('！', "!"), ('／', "/")]
        {
            assert_eq!(ascii(wide), Some(plain), "{wide}");
        }
    }

    #[test]
    fn plain_text_and_names_stay() {
        assert!(" !~:azAZ09\t".chars().chain("äé中Я".chars()).all(|it| ascii(it).is_none()));
        assert_eq!(escaped("a\u{a0}ö\u{200b}"), "a\\u{a0}ö\\u{200b}");
    }

    #[test]
    fn letters_of_other_alphabets_have_their_twin() {
        assert_eq!("АLL".chars().map(|it| latin(it).unwrap_or(it)).collect::<String>(), "ALL");
        assert_eq!("ѕѕhd".chars().map(|it| latin(it).unwrap_or(it)).collect::<String>(), "sshd");
        assert_eq!(latin('z'), None);
    }
}
