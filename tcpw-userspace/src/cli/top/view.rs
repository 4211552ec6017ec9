//! Draws the model.
//!
//! In: a [`Model`]. Out: text in a frame. Invariant: pure; nothing is drawn outside of the frame, whatever its size.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{
    detail::detail,
    header::header,
    keys::HELP,
    look::Look,
    model::{Model, Over},
    rows::{Column, Panel, thousands},
};

/// From this size on all panels are shown at once.
const GRID: (u16, u16) = (160, 40);

/// Below this size nothing is shown.
const LEAST: (u16, u16) = (40, 8);

/// Columns before a row: the mark of the selected one.
const MARK: u16 = 2;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget(Paragraph::new("too small"), area);
        return;
    }
    let [top, tabs, body, bottom] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(u16::from(!is_grid(area))),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(model, top.width, look)), top);
    frame.render_widget(Paragraph::new(footer(model, bottom.width, look)), bottom);
    if is_grid(area) {
        grid(frame, body, model, look);
    } else {
        frame.render_widget(Paragraph::new(tab_line(model, look)), tabs);
        panel(frame, body, model, model.panel, look);
    }
    let over = if is_grid(area) { body.inner(ratatui::layout::Margin::new(8, 3)) } else { body };
    match &model.over {
        Over::Nothing => {}
        Over::Help => {
            let lines = HELP.map(|(keys, meaning)| format!("{keys:<20} {meaning}"));
            open(frame, over, " Keys ", &lines, model.scrolled, look);
        }
        Over::Detail(subject) => {
            let (title, lines) = detail(subject, &model.picture, model.excerpt.as_ref());
            open(frame, over, &format!(" {title} "), &lines, model.scrolled, look);
        }
    }
}

/// Rows that a panel has on a screen of this size.
pub(super) fn page(area: Rect) -> usize {
    let body = usize::from(area.height).saturating_sub(4);
    if is_grid(area) { (body / 2).saturating_sub(3) } else { body.saturating_sub(2) }
}

fn is_grid(area: Rect) -> bool {
    area.width >= GRID.0 && area.height >= GRID.1
}

fn grid(frame: &mut Frame<'_>, area: Rect, model: &Model, look: Look) {
    let halves = [Constraint::Fill(1), Constraint::Fill(1)];
    let [upper, lower] = Layout::vertical(halves).areas(area);
    let places = [upper, lower].map(|half| Layout::horizontal(halves).areas::<2>(half)).concat();
    for ((number, one), place) in (1..).zip(Panel::ALL).zip(places) {
        let is_chosen = one == model.panel;
        let name = format!("{number} {}", one.name());
        let title = if is_chosen { format!(" [{name}] ") } else { format!(" {name} ") };
        let style = if is_chosen { look.style(Modifier::BOLD, Color::Cyan) } else { Style::new() };
        let block = Block::bordered().border_set(look.border()).title(Span::styled(title, style));
        let inner = block.inner(place);
        frame.render_widget(block, place);
        panel(frame, inner, model, one, look);
    }
}

fn tab_line(model: &Model, look: Look) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    for (number, panel) in (1..).zip(Panel::ALL) {
        let name = format!("{number} {}", panel.name());
        spans.push(if panel == model.panel {
            Span::styled(format!("[{name}]"), look.style(Modifier::BOLD, Color::Cyan))
        } else {
            Span::raw(format!(" {name} "))
        });
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

/// One panel: heading, rows, and a note below.
fn panel(frame: &mut Frame<'_>, area: Rect, model: &Model, panel: Panel, look: Look) {
    let columns = panel.columns(model.picture.metrics.mode);
    let widths = widths(&columns, area.width.saturating_sub(MARK));
    let (rows, selected) = model.rows(panel);
    let sort = model.list(panel).sort;
    let titles = columns.iter().enumerate().map(|(at, column)| {
        // An arrow where it is sorted by; the other way round if it is reversed.
        let arrow = if sort.is_reversed { '^' } else { 'v' };
        if at == sort.column { format!("{}{arrow}", column.title) } else { column.title.to_owned() }
    });
    let mut lines = vec![Line::styled(
        line(titles, &columns, &widths, look),
        Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
    )];
    let note = note(panel, model);
    let room = usize::from(area.height).saturating_sub(1 + usize::from(note.is_some()));
    let first = selected.saturating_sub(room / 2).min(rows.len().saturating_sub(room));
    let is_chosen = panel == model.panel;
    for (at, row) in rows.iter().enumerate().skip(first).take(room) {
        let cells = row.cells.iter().map(|cell| cell.shown.clone());
        let mut text = line(cells, &columns, &widths, look);
        let mut style = Style::new();
        if is_chosen && at == selected {
            text.replace_range(..1, ">");
            style = style.add_modifier(Modifier::REVERSED);
        }
        lines.push(Line::styled(text, style));
    }
    if rows.is_empty() {
        let why = if model.filter.is_empty() { "none yet" } else { "none with the filter's text" };
        lines.push(Line::raw(format!("  {why}")));
    }
    frame.render_widget(Paragraph::new(lines), area);
    if let Some(note) = note {
        let place = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
        let style = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(
            Paragraph::new(look.fit(&format!("  {note}"), area.width, false)).style(style),
            place,
        );
    }
}

/// What the numbers of a panel leave out.
fn note(panel: Panel, model: &Model) -> Option<String> {
    let picture = &model.picture;
    let is_partial = !picture.metrics.log_allowed;
    match panel {
        Panel::Services | Panel::Rules if is_partial => {
            Some("accepted attempts are counted here only with log-allowed".into())
        }
        Panel::Clients | Panel::Refusals => {
            let of = format!("of the last {} records", thousands(picture.attempts.len() as u64));
            let missed = picture.missed;
            Some(if missed > 0 { format!("{of}; {missed} came too fast to be shown") } else { of })
        }
        Panel::Services | Panel::Rules => None,
    }
}

/// The width of each column: its least, and its part of what is left; what is lacking is taken from the widest.
fn widths(columns: &[Column], width: u16) -> Vec<u16> {
    let gaps = u16::try_from(columns.len().saturating_sub(1)).unwrap_or(0);
    let mut widths: Vec<u16> = columns.iter().map(|column| column.width).collect();
    let used = widths.iter().sum::<u16>() + gaps;
    let left = width.saturating_sub(used);
    let parts = columns.iter().map(|column| column.grows).sum::<u16>().max(1);
    for (own, column) in widths.iter_mut().zip(columns) {
        *own += left / parts * column.grows + left % parts * column.grows / parts;
    }
    for _ in width..used {
        if let Some(widest) = widths.iter_mut().max_by_key(|own| **own) {
            *widest = widest.saturating_sub(1);
        }
    }
    widths
}

/// One line of a table.
fn line(cells: impl Iterator<Item = String>, columns: &[Column], widths: &[u16], look: Look) -> String {
    let cells = cells.zip(columns).zip(widths);
    let cells: Vec<String> =
        cells.map(|((cell, column), width)| look.fit(&cell, *width, column.is_number)).collect();
    format!("{}{}", " ".repeat(usize::from(MARK)), cells.join(" "))
}

/// What lies over the panels, in a box of its own.
fn open(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[String], scrolled: usize, look: Look) {
    let title = look.fit(
        title,
        u16::try_from(title.chars().count()).unwrap_or(area.width).min(area.width.saturating_sub(2)),
        false,
    );
    let block = Block::bordered().border_set(look.border()).title(title);
    let inner = block.inner(area);
    let lines: Vec<String> = lines.iter().flat_map(|line| look.wrap(line, inner.width)).collect();
    let first = scrolled.min(lines.len().saturating_sub(usize::from(inner.height)));
    let shown = lines.into_iter().skip(first).take(usize::from(inner.height));
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(shown.map(Line::raw).collect::<Vec<_>>()), inner);
}

fn footer(model: &Model, width: u16, look: Look) -> Line<'static> {
    let text = if model.is_writing {
        format!(" filter: {}_   Enter keeps it, Esc clears it", model.filter)
    } else if !matches!(model.over, Over::Nothing) {
        " Esc back   arrows PgUp PgDn move   p pause   q back".to_owned()
    } else if model.filter.is_empty() {
        " q quit  s sort  r reverse  / filter  Enter open  Tab panel  p pause  ? help".to_owned()
    } else {
        format!(
            " only rows with \"{}\": Esc clears it  / another  ? help",
            crate::log::printable(&model.filter)
        )
    };
    Line::styled(look.fit(&text, width, false), Style::new().add_modifier(Modifier::REVERSED))
}
