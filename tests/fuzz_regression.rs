//! Every fuzz target, without the fuzzer: on what it once found (corpus/fuzz/TARGET/*), on its
//! seeds, and on every table of rules/.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tcpw_fuzz::TARGETS;

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn known_inputs_break_no_target() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = files_below(&tests.join("rules"));
    assert!(rules.len() > 50, "the tables of rules/ are gone");
    let mut replayed = 0;
    for (name, target) in TARGETS {
        let found = files_below(&tests.join("corpus/fuzz").join(name));
        let seeds = files_below(&tests.join("fuzz/seeds").join(name));
        for file in rules.iter().chain(&found).chain(&seeds) {
            // Shown if it panics.
            println!("{name}: {}", file.display());
            target(&fs::read(file).expect("read an input"));
            replayed += 1;
        }
    }
    println!("{replayed} inputs replayed");
}
