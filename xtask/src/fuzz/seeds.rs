//! What the fuzzer begins with: the tables of the tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::workspace;

/// Where the seeds of a target are put.
pub(super) fn directory(target: &str) -> Result<PathBuf> {
    Ok(workspace()?.join("target/fuzz/seeds").join(target))
}

/// Writes the seeds of a target anew.
pub(super) fn write(target: &str) -> Result<()> {
    let directory = directory(target)?;
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let mut seeds = kept(target)?;
    seeds.extend(cases()?.iter().flat_map(|case| of_case(target, case)));
    for (number, seed) in seeds.iter().enumerate() {
        let path = directory.join(format!("{number:04}"));
        fs::write(&path, seed).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Seeds written by hand, and for tables those of the golden tests.
fn kept(target: &str) -> Result<BTreeSet<Vec<u8>>> {
    let tests = workspace()?.join("tests");
    let mut directories = vec![tests.join("fuzz/seeds").join(target)];
    if matches!(target, "fmt" | "tables") {
        directories.extend(entries(&tests.join("rules"))?);
    }
    let mut seeds = BTreeSet::new();
    for directory in directories.iter().filter(|directory| directory.is_dir()) {
        for path in entries(directory)? {
            seeds.insert(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(seeds)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// The cases of the conformance test.
fn cases() -> Result<Vec<Value>> {
    let mut cases = Vec::new();
    for name in ["tests/cases/cases.jsonl", "tests/corpus/cases.jsonl"] {
        let path = workspace()?.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            cases.push(serde_json::from_str(line).with_context(|| format!("{name}: {line}"))?);
        }
    }
    Ok(cases)
}

/// What a case has for a target.
fn of_case(target: &str, case: &Value) -> Vec<Vec<u8>> {
    let tables = ["allow", "deny"].map(|table| case[table].as_str().unwrap_or_default());
    let files = case["files"].as_object().into_iter().flatten().filter_map(|(_, text)| text.as_str());
    let texts: Vec<String> = match target {
        "cases" => vec![case.to_string()],
        "fmt" => tables.map(str::to_owned).to_vec(),
        // The lines of `--` are those that the target takes for separators.
        "tables" => vec![tables.into_iter().chain(files).collect::<Vec<_>>().join("\n--\n")],
        "pattern_files" => files.map(str::to_owned).collect(),
        "options" => {
            let rules = tables.into_iter().flat_map(str::lines);
            rules.filter_map(|rule| rule.splitn(3, ':').nth(2)).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    texts.into_iter().filter(|text| !text.is_empty()).map(String::into_bytes).collect()
}
