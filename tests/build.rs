//! Compiles the C part of the oracle: C-variadic functions, which stable Rust cannot define.
//!
//! Out: link arguments of tcpw-oracle alone; no other program's `sleep` is replaced.

use std::io::Write as _;

fn main() {
    let mut out = std::io::stdout();
    drop(writeln!(out, "cargo::rerun-if-changed=oracle/shim.c"));
    let objects = cc::Build::new()
        .file("oracle/shim.c")
        .std("c11")
        .define("_GNU_SOURCE", None)
        .warnings_into_errors(true)
        .cargo_metadata(false)
        .try_compile_intermediates();
    match objects {
        Ok(objects) => {
            for object in objects {
                drop(writeln!(out, "cargo::rustc-link-arg-bin=tcpw-oracle={}", object.display()));
            }
            // Libraries loaded later shall find the shim's functions before libc's.
            drop(writeln!(out, "cargo::rustc-link-arg-bin=tcpw-oracle=-rdynamic"));
        }
        Err(error) => drop(writeln!(out, "cargo::error=oracle/shim.c: {error}: install a C compiler")),
    }
}
