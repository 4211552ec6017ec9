//! What the screen shows: panel, order, filter, selection, what is open.
//!
//! In: readings of the daemon, commands of the keys. Out: what is to be done outside. Invariant: pure: no clock, no file, no
//! terminal. A selection stays with its row when rows come and go.

use std::path::PathBuf;

use super::{
    excerpt::Excerpt,
    keys::Command,
    picture::{Picture, Reading},
    rows::{Panel, Row, Sort, Subject, rows},
};

/// Longest filter.
const MOST_FILTER: usize = 60;

/// What a command asks for outside of the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// The lines around one.
    Read(PathBuf, u32),
    /// Ask no more, or ask again.
    Pause(bool),
}

/// What lies over the panels.
#[derive(Debug)]
pub(super) enum Over {
    Nothing,
    Help,
    Detail(Subject),
}

/// One panel's state.
#[derive(Debug)]
pub(super) struct List {
    pub(super) sort: Sort,
    selected: Option<Subject>,
    /// Where the selection was: it stays about there if its row goes away.
    place: usize,
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) picture: Picture,
    /// Why there is nothing new, and since when.
    pub(super) trouble: Option<(String, u64)>,
    pub(super) panel: Panel,
    lists: [List; Panel::ALL.len()],
    pub(super) filter: String,
    pub(super) is_writing: bool,
    pub(super) over: Over,
    /// First line of what is open.
    pub(super) scrolled: usize,
    pub(super) excerpt: Option<Excerpt>,
    pub(super) is_paused: bool,
    /// Rows that the screen has for a panel.
    pub(super) page: usize,
}

impl Model {
    /// With the first reading.
    pub(super) fn new(reading: Reading) -> Self {
        Self {
            picture: Picture::new(reading),
            trouble: None,
            panel: Panel::Services,
            lists: Panel::ALL.map(|panel| List {
                sort: Sort { column: panel.first_sort(), is_reversed: false },
                selected: None,
                place: 0,
            }),
            filter: String::new(),
            is_writing: false,
            over: Over::Nothing,
            scrolled: 0,
            excerpt: None,
            is_paused: false,
            page: 10,
        }
    }

    /// The daemon told something.
    pub(super) fn take(&mut self, reading: Reading) {
        self.trouble = None;
        self.picture.take(reading);
    }

    /// The daemon did not answer, at this second since 1970; what is shown stays.
    pub(super) fn fail(&mut self, reason: String, now: u64) {
        let since = self.trouble.take().map_or(now, |(_, since)| since);
        self.trouble = Some((reason, since));
    }

    /// A panel's state.
    pub(super) fn list(&self, panel: Panel) -> &List {
        &self.lists[index(panel)]
    }

    /// A panel's rows, and which of them is selected.
    pub(super) fn rows(&self, panel: Panel) -> (Vec<Row>, usize) {
        let list = self.list(panel);
        let rows = rows(panel, &self.picture, &self.filter, list.sort);
        let place = match &list.selected {
            None => 0,
            Some(subject) => rows.iter().position(|row| row.subject == *subject).unwrap_or(list.place),
        };
        let last = rows.len().saturating_sub(1);
        (rows, place.min(last))
    }

    /// Does what a key means.
    pub(super) fn apply(&mut self, command: Command) -> Wish {
        if self.is_writing {
            return self.write(command);
        }
        match (command, &self.over) {
            (Command::Quit, Over::Nothing) => return Wish::Quit,
            (Command::Quit | Command::Back | Command::Enter, Over::Help | Over::Detail(_)) => self.close(),
            (Command::Move(rows), Over::Help | Over::Detail(_)) => self.scroll(rows),
            (Command::Page(pages), Over::Help | Over::Detail(_)) => self.scroll(pages * self.page_size()),
            (Command::First, Over::Help | Over::Detail(_)) => self.scrolled = 0,
            (Command::Last, Over::Help | Over::Detail(_)) => self.scrolled = usize::MAX,
            (Command::Help, _) => self.open(Over::Help),
            (Command::Enter, Over::Nothing) => return self.open_row(),
            (Command::Back, Over::Nothing) => self.filter.clear(),
            (Command::Move(rows), Over::Nothing) => self.step(rows),
            (Command::Page(pages), Over::Nothing) => self.step(pages * self.page_size()),
            (Command::First, Over::Nothing) => self.lists[index(self.panel)].selected = None,
            (Command::Last, Over::Nothing) => self.step(isize::MAX),
            (Command::Show(panel), _) => self.show(panel),
            (Command::NextPanel, _) => self.show(Panel::ALL[(index(self.panel) + 1) % Panel::ALL.len()]),
            (Command::PreviousPanel, _) => {
                self.show(Panel::ALL[(index(self.panel) + Panel::ALL.len() - 1) % Panel::ALL.len()]);
            }
            (Command::NextColumn, Over::Nothing) => self.sort_by(1),
            (Command::PreviousColumn, Over::Nothing) => self.sort_by(-1),
            (Command::Reverse, Over::Nothing) => {
                let sort = &mut self.lists[index(self.panel)].sort;
                sort.is_reversed = !sort.is_reversed;
            }
            (Command::Filter, _) => {
                self.close();
                self.is_writing = true;
            }
            (Command::Pause, _) => {
                self.is_paused = !self.is_paused;
                return Wish::Pause(self.is_paused);
            }
            (Command::NextColumn | Command::PreviousColumn | Command::Reverse, _)
            | (Command::Write(_) | Command::Rub, _) => {}
        }
        Wish::Nothing
    }

    /// While a filter is written.
    fn write(&mut self, command: Command) -> Wish {
        match command {
            Command::Quit => return Wish::Quit,
            Command::Write(character) if self.filter.chars().count() < MOST_FILTER => {
                self.filter.push(character);
            }
            Command::Rub => drop(self.filter.pop()),
            Command::Back => {
                self.filter.clear();
                self.is_writing = false;
            }
            Command::Enter => self.is_writing = false,
            Command::Move(rows) => self.step(rows),
            Command::Page(pages) => self.step(pages * self.page_size()),
            Command::Write(_)
            | Command::Show(_)
            | Command::NextPanel
            | Command::PreviousPanel
            | Command::NextColumn
            | Command::PreviousColumn
            | Command::Reverse
            | Command::Filter
            | Command::First
            | Command::Last
            | Command::Help
            | Command::Pause => {}
        }
        Wish::Nothing
    }

    fn show(&mut self, panel: Panel) {
        self.close();
        self.panel = panel;
    }

    fn open(&mut self, over: Over) {
        self.close();
        self.over = over;
    }

    fn close(&mut self) {
        self.over = Over::Nothing;
        self.scrolled = 0;
        self.excerpt = None;
    }

    /// Opens the selected row.
    fn open_row(&mut self) -> Wish {
        let (rows, place) = self.rows(self.panel);
        let Some(row) = rows.into_iter().nth(place) else { return Wish::Nothing };
        let wish = match &row.subject {
            Subject::Rule(at) if at.line > 0 => {
                self.picture.path_of(&at.table).map(|path| Wish::Read(path.into(), at.line))
            }
            Subject::Attempt(number) => {
                let attempt = self.picture.attempts.iter().find(|it| it.number == *number);
                let rule = attempt.and_then(|it| it.rule.as_ref());
                rule.map(|rule| Wish::Read(rule.file.as_str().into(), rule.at.line))
            }
            Subject::Rule(_) | Subject::Service(_) | Subject::Client(_) => None,
        };
        self.open(Over::Detail(row.subject));
        wish.unwrap_or(Wish::Nothing)
    }

    fn step(&mut self, by: isize) {
        let (rows, place) = self.rows(self.panel);
        let place = place.saturating_add_signed(by).min(rows.len().saturating_sub(1));
        let list = &mut self.lists[index(self.panel)];
        list.selected = rows.into_iter().nth(place).map(|row| row.subject);
        list.place = place;
    }

    fn sort_by(&mut self, by: isize) {
        let columns = self.panel.columns(self.picture.metrics.mode).len();
        let sort = &mut self.lists[index(self.panel)].sort;
        let next = if by > 0 { sort.column + 1 } else { sort.column + columns - 1 };
        *sort = Sort { column: next % columns, is_reversed: false };
    }

    fn scroll(&mut self, by: isize) {
        self.scrolled = self.scrolled.saturating_add_signed(by);
    }

    fn page_size(&self) -> isize {
        isize::try_from(self.page).unwrap_or(isize::MAX).max(1)
    }
}

fn index(panel: Panel) -> usize {
    Panel::ALL.iter().position(|it| *it == panel).unwrap_or(0)
}
