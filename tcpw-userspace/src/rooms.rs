//! The rooms of the library, and what each may use.
//!
//! In: the source text of every room. Invariant: a room uses only rooms before it in [`ORDER`], so there is no
//! circle.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room may use those before it.
const ORDER: [&str; 29] = [
    "host",
    "parse",
    "source",
    "format",
    "names",
    "events",
    "bans",
    "log",
    "evaluate",
    "compile",
    "resolve",
    "effects",
    "resolver",
    "check",
    "cases",
    "listeners",
    "certify",
    "config",
    "record",
    "control",
    "metrics",
    "redirect",
    "core",
    "kernel",
    "doctor",
    "reinject",
    "daemon",
    "simulate",
    "cli",
];

#[test]
fn a_room_uses_only_rooms_before_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let place = |room: &str| ORDER.iter().position(|it| *it == room);
    let mut wrong = Vec::new();
    for path in files(&root) {
        let inside = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let room = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main", "rooms"].contains(&room) {
            continue;
        }
        let Some(own) = place(room) else { panic!("{room} has no place in the order") };
        let text = fs::read_to_string(&path).unwrap();
        // Tests may use anything.
        if inside.contains("tests") {
            continue;
        }
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let used = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<String>();
        for used in rooms_in(&used) {
            match place(&used) {
                Some(used) if used <= own => {}
                _ => wrong.push(format!("{inside} uses {used}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rooms that a text names: `crate::ROOM`, and the first names of `crate::{...}`.
fn rooms_in(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            rooms.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                ' ' => {}
                _ if begins => {
                    begins = false;
                    rooms.push(word(&group[at..]));
                }
                _ => {}
            }
        }
    }
    rooms.retain(|room| room.starts_with(|first: char| first.is_ascii_lowercase()));
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            all.push(path);
        }
    }
    all
}
