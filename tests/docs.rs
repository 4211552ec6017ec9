//! The documents: what they refer to exists.
//!
//! In: README.md and the other Markdown files of the repository. Out: one line for each link, test or path that is
//! not there.

#[path = "docs/markdown.rs"]
mod markdown;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use markdown::{anchors, code, first_cell, links};

/// Directories that a path in a document begins with.
const TOP: [&str; 7] =
    ["deploy/", "docs/", "tcpw-common/", "tcpw-ebpf/", "tcpw-userspace/", "tests/", "xtask/"];

/// A name with fewer underscores is taken for a counter or a setting, not for the function of a test.
const UNDERSCORES_OF_A_TEST: usize = 3;

struct Document {
    path: PathBuf,
    /// Its path in the repository.
    name: String,
    text: String,
}

#[test]
fn relative_links_lead_to_files_and_headings() -> Result<()> {
    let mut missing = Vec::new();
    for document in documents()? {
        let directory = document.path.parent().context("a document is in a directory")?;
        for link in links(&document.text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.path.clone() } else { directory.join(file) };
            let is_there = target.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&target)?).contains(anchor));
            if !is_there {
                missing.push(format!("{}: {link}", document.name));
            }
        }
    }
    none(&missing)
}

#[test]
fn tests_that_documents_name_exist() -> Result<()> {
    let programs = test_programs()?;
    let mut missing = Vec::new();
    for document in documents()? {
        let mut program = None;
        for word in code(&document.text) {
            if programs.contains(word) {
                program = Some(word);
            } else if is_test_function(word) {
                let found = match program {
                    Some(program) => has_function(program, word)?,
                    None => false,
                };
                if !found {
                    let program = program.unwrap_or("no test program before it");
                    missing.push(format!("{}: `{program}` `{word}`", document.name));
                }
            }
        }
    }
    none(&missing)
}

#[test]
fn paths_that_documents_name_exist() -> Result<()> {
    let mut missing = Vec::new();
    for document in documents()? {
        for word in code(&document.text) {
            let is_path = TOP.iter().any(|top| word.starts_with(top)) && is_plain(word);
            if is_path && !root().join(word).exists() {
                missing.push(format!("{}: {word}", document.name));
            }
        }
        missing.extend(
            missing_of_tables(&document.text)
                .into_iter()
                .map(|path| format!("{}: {}", document.name, path.display())),
        );
    }
    none(&missing)
}

/// Paths of tables whose first heading names a directory: its rows begin with names relative to it.
fn missing_of_tables(text: &str) -> Vec<PathBuf> {
    let mut missing = Vec::new();
    let mut directory: Option<&str> = None;
    let mut is_in_table = false;
    for line in text.lines() {
        let Some(cell) = first_cell(line) else {
            is_in_table = false;
            continue;
        };
        if !is_in_table {
            is_in_table = true;
            directory = code(cell).into_iter().find(|word| TOP.iter().any(|top| word.starts_with(top)));
            continue;
        }
        let Some(directory) = directory else { continue };
        for word in code(cell).into_iter().filter(|word| is_plain(word)) {
            let path = Path::new(directory).join(word);
            if !root().join(&path).exists() && !root().join(&path).with_extension("rs").exists() {
                missing.push(path);
            }
        }
    }
    missing
}

/// Whether a path has no placeholder, such as `NAME.rs`.
fn is_plain(path: &str) -> bool {
    let is_placeholder = |part: &str| {
        let stem = part.split('.').next().unwrap_or(part);
        !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    !path.contains([' ', '*', '{', '<']) && !path.split('/').any(is_placeholder)
}

fn is_test_function(word: &str) -> bool {
    let is_name = word
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b':'));
    // Metrics begin so.
    is_name && !word.starts_with("tcpw_") && word.matches('_').count() >= UNDERSCORES_OF_A_TEST
}

/// Whether a function is in a file of a test program, and in the modules that its path names.
fn has_function(program: &str, path: &str) -> Result<bool> {
    let mut modules: Vec<&str> = path.split("::").collect();
    let function = format!("fn {}(", modules.pop().unwrap_or(path));
    let tests = root().join("tests");
    let mut files = Vec::new();
    if modules.is_empty() {
        files.push(tests.join(program).with_extension("rs"));
        rust_files(&tests.join(program), &mut files)?;
    } else {
        files.push(tests.join(program).join(modules.join("/")).with_extension("rs"));
    }
    for file in files.iter().filter(|file| file.exists()) {
        if fs::read_to_string(file)?.contains(&function) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What `cargo xtask test --test` takes: the test programs in tests/Cargo.toml, and the modules of `offline`.
fn test_programs() -> Result<BTreeSet<String>> {
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml"))?;
    let sections = manifest.split("[[test]]").skip(1);
    let names = sections.filter_map(|section| section.split("name = \"").nth(1)?.split('"').next());
    let offline = fs::read_to_string(root().join("tests/offline.rs"))?;
    let modules = offline.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let modules = modules.map(|name| name.trim_start_matches("r#"));
    Ok(names.chain(modules).map(str::to_owned).collect())
}

/// README.md and what stands beside it and in docs/.
fn documents() -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for directory in [root(), root().join("docs")] {
        for entry in fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                documents.push(Document { text: fs::read_to_string(&path)?, path, name });
            }
        }
    }
    ensure!(documents.len() > 1, "there are documents");
    Ok(documents)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_path_buf()
}

fn none(missing: &[String]) -> Result<()> {
    ensure!(missing.is_empty(), "these are not there:\n{}", missing.join("\n"));
    Ok(())
}
