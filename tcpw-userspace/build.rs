//! Takes the BPF object that `cargo xtask build` made, for `include_bytes_aligned!`.
//!
//! In: `TCPW_BPF_OBJECT`, or target/bpf/tcpw-ebpf of the workspace.
//! Out: tcpw.bpf.o in `OUT_DIR`. Invariant: the object of target/bpf is not older than its sources. One that
//! `TCPW_BPF_OBJECT` names is taken as it is.

#[path = "../xtask/src/newest.rs"]
mod newest;

use std::{env, fs, io::Write, path::Path};

use newest::{OBJECT_SOURCES, newest_source};

fn main() {
    let mut out = std::io::stdout();
    let outcome = provide(&mut out);
    if let Err(error) = outcome {
        drop(writeln!(out, "cargo::error={error}: run `cargo xtask build`"));
    }
}

fn provide(out: &mut impl Write) -> Result<(), String> {
    let package = env::var("CARGO_MANIFEST_DIR").map_err(|error| error.to_string())?;
    let workspace = Path::new(&package).parent().ok_or("the package has no parent directory")?;
    let named = env::var_os("TCPW_BPF_OBJECT");
    let object = named.as_ref().map_or_else(|| workspace.join("target/bpf/tcpw-ebpf"), Into::into);

    let mut watched = vec![object.clone()];
    watched.extend(OBJECT_SOURCES.iter().flat_map(|package| {
        [workspace.join(package).join("src"), workspace.join(package).join("Cargo.toml")]
    }));
    drop(writeln!(out, "cargo::rerun-if-env-changed=TCPW_BPF_OBJECT"));
    for path in watched {
        drop(writeln!(out, "cargo::rerun-if-changed={}", path.display()));
    }

    let bytes = fs::read(&object).map_err(|error| format!("the BPF object {}: {error}", object.display()))?;
    let time_of = |error: std::io::Error| format!("times of the BPF object and its sources: {error}");
    if named.is_none()
        && object.metadata().and_then(|metadata| metadata.modified()).map_err(time_of)?
            < newest_source(workspace).map_err(time_of)?
    {
        return Err(format!("the BPF object {} is older than its sources", object.display()));
    }
    let copy = Path::new(&env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("tcpw.bpf.o");
    fs::write(&copy, bytes).map_err(|error| format!("{}: {error}", copy.display()))
}
