//! What the demo prints, in colour on a terminal only.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use crate::attempts::Row;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

/// Standard output.
pub(crate) struct Paper {
    coloured: bool,
}

impl Paper {
    pub(crate) fn new() -> Self {
        Self { coloured: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Begins an act.
    pub(crate) fn title(&self, text: impl Display) {
        self.print(&format!("\n{}", self.paint(BOLD, text)));
    }

    /// One line of the demo's own.
    pub(crate) fn say(&self, text: impl Display) {
        self.print(&format!("  {text}"));
    }

    /// One line that a program of the sandbox wrote.
    pub(crate) fn quote(&self, who: &str, line: &str) {
        self.print(&format!("  {} {line}", self.paint(DIM, format_args!("{who:>4} |"))));
    }

    /// The final table; whether all rows agree.
    pub(crate) fn table(&self, rows: &[Row]) -> bool {
        self.title(format_args!(
            "  {:<36} {:<12} {:<10} {:<10} {}",
            "client", "service", "predicted", "seen", "when"
        ));
        for row in rows {
            let verdict = if row.agrees() {
                self.paint(GREEN, format_args!("{:<10}", row.seen()))
            } else {
                self.paint(RED, format_args!("{:<10} DIFFERS", row.seen()))
            };
            let client = row.client.to_string();
            self.say(format_args!(
                "{client:<36} {:<12} {:<10} {verdict} {}",
                row.service,
                row.predicted(),
                row.when
            ));
        }
        let differ = rows.iter().filter(|row| !row.agrees()).count();
        let sum = format!("{} connections, {differ} differ from the prediction", rows.len());
        self.print(&format!("\n{}", self.paint(if differ == 0 { GREEN } else { RED }, sum)));
        differ == 0
    }

    /// Why the demo ends here.
    pub(crate) fn error(&self, text: &str) {
        drop(writeln!(io::stderr(), "tcpw-demo: {text}"));
    }

    fn paint(&self, colour: &str, text: impl Display) -> String {
        if self.coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn print(&self, text: &str) {
        // A reader that went away (`| head`) does not end the demo before its clean-up.
        drop(writeln!(io::stdout(), "{}", text.trim_end()));
    }
}
