//! Replays what the fuzzer once found: corpus/fuzz/TARGET/*, each of which broke something.
//!
//! Also every table of the case files and of rules/, which are the fuzzer's seeds.

use std::{fs, path::Path};

use tcpw_fuzz::TARGETS;

#[test]
fn what_the_fuzzer_found_breaks_nothing_any_more() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/fuzz");
    let mut replayed = 0;
    for directory in fs::read_dir(&root).expect("corpus/fuzz") {
        let directory = directory.expect("corpus/fuzz").path();
        let name = directory.file_name().and_then(|name| name.to_str()).expect("a target's name");
        let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect(name);
        for file in fs::read_dir(&directory).expect(name) {
            let file = file.expect(name).path();
            // Shown if it panics.
            println!("{}", file.display());
            target(&fs::read(&file).expect("read an input"));
            replayed += 1;
        }
    }
    println!("{replayed} inputs replayed");
    assert!(replayed > 0, "nothing in {}", root.display());
}
