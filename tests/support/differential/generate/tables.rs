//! Tables: rules, what stands between them, and how lines end.

use super::{Author, tools};

/// The longest line libwrap reads, with its newline.
const LONGEST: usize = 2047;

const NO_RULES: &[&str] = &[
    "# comment",
    "#",
    "",
    "",
    "   ",
    "\t",
    "# ALL: ALL",
    " # ALL: ALL",
    " # comment",
    "sshd ALL",
    "ALL",
    ":",
    ": ALL",
    "ALL:",
    "sshd:  ",
    " ALL : ALL",
    ": :",
    "::",
    "# continued\\",
    "#ALL: ALL\\",
    "\\",
    "[ALL: ALL",
    "ALL]: ALL",
    "# DenyHosts: x | sshd: 1.2.3.4",
    "\u{feff}# x",
    "ALL: #ALL",
    "a: b: c: d",
    "\0",
    "x\0",
    ",: ,",
    "EXCEPT: ALL",
    "ALL: EXCEPT ALL",
];

impl Author<'_> {
    /// The text of a table; `None`: it is not there.
    pub(super) fn table(&mut self, deny: bool) -> Option<String> {
        // With fewer rules to allow, more is left to deny.
        if self.random.chance(if deny { 6 } else { 15 }) {
            return None;
        }
        if self.random.chance(self.taste.tool) {
            return Some(tools::table(self, deny));
        }
        let mut lines = Vec::new();
        let rules = if self.taste.many {
            self.random.between(20, 90)
        } else {
            self.random.weighted(&[(4, 0), (30, 1), (30, 2), (20, 3), (12, 5), (4, 10)])
        };
        for _ in 0..rules {
            if self.random.chance(self.taste.no_rule) {
                lines.push((*self.random.pick(NO_RULES)).into());
            }
            lines.push(self.line());
        }
        if self.random.chance(if deny { self.taste.all_all } else { self.taste.all_all / 12 }) {
            let options = if self.random.chance(self.taste.options) { self.options() } else { String::new() };
            lines.push(format!("ALL: ALL{options}"));
        }
        let end = if self.random.chance(self.taste.crlf) { "\r\n" } else { "\n" };
        let mut text: String = lines.iter().flat_map(|line| [line, end]).collect();
        if self.random.chance(self.taste.mutation) {
            self.mutate(&mut text);
        }
        if self.random.chance(self.taste.cut) {
            let keep = text.trim_end_matches(['\n', '\r']).len();
            text.truncate(keep);
        }
        Some(text)
    }

    fn line(&mut self) -> String {
        let mut line = self.rule();
        if self.random.chance(self.taste.long) {
            self.lengthen(&mut line);
        }
        while self.random.chance(self.taste.continuation) {
            let mut at = self.random.below(line.len() + 1);
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            let broken = if self.random.chance(90) { "\\\n" } else { "\\\r\n" };
            line.insert_str(at, broken);
        }
        line
    }

    /// A rule, without its newline.
    pub(super) fn rule(&mut self) -> String {
        let daemons = self.daemons();
        let clients = self.clients();
        let colon = self.random.weighted(&[(70, ": "), (15, ":"), (10, " : "), (2, "\t:\t"), (1, ":  ")]);
        let options = if self.random.chance(self.taste.options) { self.options() } else { String::new() };
        let blank = self.random.weighted(&[(90, ""), (5, " "), (2, "\t"), (1, "\r"), (1, "\u{b}")]);
        format!("{daemons}{colon}{clients}{options}{blank}")
    }

    /// Brings a line about as long as one may be.
    fn lengthen(&mut self, line: &mut String) {
        let wanted = self.random.between(LONGEST - 12, LONGEST + 4);
        let at = match self.random.below(3) {
            0 => 0,
            1 => line.find(':').map_or(0, |colon| colon + 1),
            _ => line.len(),
        };
        let filler = match self.random.below(4) {
            0 => " ".repeat(wanted),
            1 => ",".repeat(wanted),
            2 => " 192.0.2.77".repeat(wanted / 11 + 1),
            _ => "x".repeat(wanted),
        };
        line.insert_str(at, &filler[..wanted.saturating_sub(line.len())]);
        if self.random.chance(35) {
            // Around the limit a continuation counts, too.
            let at = self.random.between(LONGEST - 8, LONGEST + 1).min(line.len());
            if line.is_char_boundary(at) {
                line.insert_str(at, "\\\n");
            }
        }
    }

    /// Puts random characters in, and takes some out.
    fn mutate(&mut self, text: &mut String) {
        const PIECES: &[&str] = &[
            "[", "]", ":", "\\", "\\\n", "\\:", "#", "\0", "\r", "\n", "@", "/", "%", "*", "?", ".", ",",
            " ", "\t", "\u{b}", "é", "\u{a0}", "\u{feff}", "\"", "'", "=", "-", "+", "0", "1", "f",
            "EXCEPT ", " EXCEPT ", "ALL ", "\u{c}", "%lo", "::", "\u{7f}", "\u{1}", "\\\\", "!", ";", "(",
            "&", "x", "\u{f6ff}", "\u{f6e4}",
        ];
        for _ in 0..self.random.between(1, 5) {
            let mut at = self.random.below(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match self.random.below(6) {
                0 => {
                    let end =
                        text[at..].chars().take(self.random.between(1, 3)).map(char::len_utf8).sum::<usize>();
                    text.replace_range(at..at + end, "");
                }
                1 => {
                    let end = text[at..].chars().next().map_or(0, char::len_utf8);
                    text.replace_range(at..at + end, self.random.pick::<&str>(PIECES));
                }
                2 => {
                    let piece: String = text[at..].chars().take(self.random.between(1, 12)).collect();
                    text.insert_str(at, &piece);
                }
                _ => text.insert_str(at, self.random.pick::<&str>(PIECES)),
            }
        }
    }
}
