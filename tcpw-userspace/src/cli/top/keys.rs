//! What a key means.
//!
//! In: keys of the terminal. Out: commands. Invariant: pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rows::Panel;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Show(Panel),
    NextPanel,
    PreviousPanel,
    NextColumn,
    PreviousColumn,
    Reverse,
    /// Begin to write a filter.
    Filter,
    /// A character of the filter.
    Write(char),
    /// Take the last one back.
    Rub,
    /// Go back: from a filter, from a detail.
    Back,
    /// Open a row, or end the filter.
    Enter,
    /// So many rows down.
    Move(isize),
    /// So many pages down.
    Page(isize),
    First,
    Last,
    Help,
    Pause,
}

/// The command of a key; `is_writing`: a filter is being written.
pub(super) fn command(key: KeyEvent, is_writing: bool) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    #[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: most keys have no command")]
    match key.code {
        KeyCode::Char('c') if is_control => Some(Command::Quit),
        KeyCode::Char(_) if is_control || key.modifiers.contains(KeyModifiers::ALT) => None,
        KeyCode::Char(character) if is_writing => Some(Command::Write(character)),
        KeyCode::Backspace if is_writing => Some(Command::Rub),
        KeyCode::Char(character) => of_character(character),
        KeyCode::Enter => Some(Command::Enter),
        KeyCode::Esc => Some(Command::Back),
        KeyCode::Up => Some(Command::Move(-1)),
        KeyCode::Down => Some(Command::Move(1)),
        KeyCode::PageUp => Some(Command::Page(-1)),
        KeyCode::PageDown => Some(Command::Page(1)),
        KeyCode::Home => Some(Command::First),
        KeyCode::End => Some(Command::Last),
        KeyCode::Tab => Some(Command::NextPanel),
        KeyCode::BackTab => Some(Command::PreviousPanel),
        _ => None,
    }
}

fn of_character(character: char) -> Option<Command> {
    Some(match character {
        'q' => Command::Quit,
        '1' => Command::Show(Panel::Services),
        '2' => Command::Show(Panel::Clients),
        '3' => Command::Show(Panel::Rules),
        '4' => Command::Show(Panel::Refusals),
        's' => Command::NextColumn,
        'S' => Command::PreviousColumn,
        'r' => Command::Reverse,
        '/' => Command::Filter,
        'j' => Command::Move(1),
        'k' => Command::Move(-1),
        '?' | 'h' => Command::Help,
        'p' => Command::Pause,
        _ => return None,
    })
}

/// What the help shows: keys, and what they do.
pub(super) const HELP: [(&str, &str); 14] = [
    ("1 2 3 4", "services, clients, rules, refusals"),
    ("Tab, Shift-Tab", "next, previous panel"),
    ("arrows, PgUp, PgDn", "move; also j and k, Home, End"),
    ("s, S", "sort by the next, the previous column"),
    ("r", "reverse the order"),
    ("/", "show only rows with a text, in every panel; Esc clears it"),
    ("Enter", "open: a rule's file, line and neighbours; a refusal's"),
    ("", "record; a client's last attempts; a service's listeners"),
    ("Esc", "back"),
    ("p", "pause, and go on"),
    ("?, h", "this help"),
    ("q", "back from here; quit"),
    ("", ""),
    ("", "Words and columns: docs/operations.md, \"tcpw top\""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: KeyCode, modifiers: KeyModifiers, is_writing: bool) -> Option<Command> {
        command(KeyEvent::new(code, modifiers), is_writing)
    }

    #[test]
    fn keys_write_while_a_filter_is_written() {
        let none = KeyModifiers::NONE;
        assert_eq!(of(KeyCode::Char('q'), none, false), Some(Command::Quit));
        assert_eq!(of(KeyCode::Char('q'), none, true), Some(Command::Write('q')));
        assert_eq!(of(KeyCode::Char('S'), KeyModifiers::SHIFT, false), Some(Command::PreviousColumn));
        assert_eq!(of(KeyCode::Backspace, none, true), Some(Command::Rub));
        assert_eq!(of(KeyCode::Backspace, none, false), None);
        for is_writing in [false, true] {
            assert_eq!(of(KeyCode::Char('c'), KeyModifiers::CONTROL, is_writing), Some(Command::Quit));
            assert_eq!(of(KeyCode::Char('s'), KeyModifiers::CONTROL, is_writing), None);
            assert_eq!(of(KeyCode::Esc, none, is_writing), Some(Command::Back));
        }
        let release = KeyEvent::new_with_kind(KeyCode::Char('q'), none, KeyEventKind::Release);
        assert_eq!(command(release, false), None);
    }
}
