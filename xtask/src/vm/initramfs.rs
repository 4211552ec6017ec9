//! The file system of a machine: busybox, the test programs, what they call, modules, an init.
//!
//! In: a kernel and programs of this host. Out: one cpio archive, not compressed: an emulated
//! processor would take longer to unpack it than qemu takes to read it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    contents::{self, DATA, LINKS, MODULES},
    kernels::Kernel,
    suites::Run,
};
use crate::command::{output, run, target, workspace};

const INIT: &str = include_str!("init.sh");

/// Makes the archive.
pub(crate) fn make(kernel: &Kernel, directory: &Path, programs: &[PathBuf], runs: &[Run]) -> Result<PathBuf> {
    let root = directory.join(format!("root-{}", kernel.series));
    drop(fs::remove_dir_all(&root));
    for directory in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "modules"] {
        make_directory(&root.join(directory))?;
    }
    for directory in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{directory}"), root.join(directory))
            .with_context(|| format!("link {directory}"))?;
    }
    let tools = contents::programs()?;
    let mut owners = String::new();
    for tool in &tools {
        let copied = copy(tool, &root)?;
        owners += &owner_of(tool, &copied)?;
    }
    for (link, program) in LINKS {
        let link = below(&root, Path::new(link));
        symlink(program, &link).with_context(|| format!("link {}", link.display()))?;
    }
    fs::write(root.join("owners.sh"), owners).context("write who owns what")?;
    for program in programs {
        let copied = copy(program, &root)?;
        run(Command::new("strip").arg("--strip-all").arg(&copied))?;
    }
    for library in libraries(tools.iter().chain(programs))? {
        copy(&library, &root)?;
    }
    copy_modules(kernel, &root)?;
    let data = DATA.iter().map(|data| Ok(workspace()?.join(data))).collect::<Result<Vec<_>>>()?;
    for from in data.into_iter().chain(contents::files()?) {
        let to = below(&root, &from);
        make_directory(to.parent().context("no parent directory")?)?;
        run(Command::new("cp").args(["--archive", "--no-target-directory"]).arg(&from).arg(&to))?;
    }
    make_directory(&root.join("etc"))?;
    for file in ["etc/passwd", "etc/group"] {
        fs::write(root.join(file), contents::accounts(&format!("/{file}"))?)
            .with_context(|| format!("write {file}"))?;
    }
    write_init(&root, programs, runs)?;
    pack(&root, directory, kernel.series)
}

fn write_init(root: &Path, programs: &[PathBuf], runs: &[Run]) -> Result<()> {
    let init = root.join("init");
    fs::write(&init, INIT).context("write init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("make init a program")?;
    let mut script = String::new();
    for (variable, program) in [("TCPW_BIN", "debug/tcpw"), ("TCPW_OTHER_LAYOUT", "other-layout/tcpw")] {
        script += &format!("export {variable}={}\n", target()?.join(program).display());
    }
    for run in runs {
        let stem = format!("{}-", run.test);
        let program = programs
            .iter()
            .find(|program| program.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stem)))
            .with_context(|| format!("no program of test {}", run.test))?;
        script += &format!("run {} {} {}\n", run.test, program.display(), run.arguments.join(" "));
    }
    fs::write(root.join("runs.sh"), script).context("write what runs")
}

/// How a set-id program gets its owner; everything else is root's.
fn owner_of(program: &Path, copied: &Path) -> Result<String> {
    const SET_ID: u32 = 0o6000;
    let meta = fs::metadata(program).with_context(|| format!("look at {}", program.display()))?;
    if meta.mode() & SET_ID == 0 {
        return Ok(String::new());
    }
    let (name, mode) = (program.display(), meta.mode() & 0o7777);
    let plain = fs::Permissions::from_mode(mode & !SET_ID);
    fs::set_permissions(copied, plain).with_context(|| format!("set the mode of {}", copied.display()))?;
    Ok(format!("chown {}:{} {name}\nchmod {mode:o} {name}\n", meta.uid(), meta.gid()))
}

/// Copies a file to the same path below `root`.
fn copy(file: &Path, root: &Path) -> Result<PathBuf> {
    let to = below(root, file);
    make_directory(to.parent().context("no parent directory")?)?;
    fs::copy(file, &to).with_context(|| format!("copy {}", file.display()))?;
    Ok(to)
}

fn below(root: &Path, file: &Path) -> PathBuf {
    root.join(file.strip_prefix("/").unwrap_or(file))
}

/// The shared libraries of all these programs, and the loader.
fn libraries<'a>(programs: impl Iterator<Item = &'a PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in programs {
        // Fails for a static program, which has none.
        let Ok(listed) = output(Command::new("ldd").arg(program)) else { continue };
        // `name => /path (address)`, or `/path (address)`.
        all.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    Ok(all)
}

/// Copies modules and what they depend on, decompressed, numbered in the order of loading.
fn copy_modules(kernel: &Kernel, root: &Path) -> Result<()> {
    let mut ask = Command::new("/sbin/modprobe");
    // No options of this host's.
    ask.args(["-C", "/dev/null", "-d"]).arg(&kernel.files);
    ask.args(["-S", &kernel.release, "--show-depends", "--all"]).args(MODULES);
    let mut done = BTreeSet::new();
    // `insmod /path`, or `builtin name`.
    for file in output(&mut ask)?.lines().filter_map(|line| line.strip_prefix("insmod ")) {
        let file = Path::new(file.trim());
        if !done.insert(file.to_owned()) {
            continue;
        }
        let name = file.file_name().context("a module without a name")?;
        let to = root.join("modules").join(format!("{:02}-{}", done.len(), name.display()));
        fs::copy(file, &to).with_context(|| format!("copy {}", file.display()))?;
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => run(Command::new("xz").arg("--decompress").arg(&to))?,
            Some("zst") => run(Command::new("zstd").args(["--quiet", "--decompress", "--rm"]).arg(&to))?,
            Some("gz") => run(Command::new("gzip").arg("--decompress").arg(&to))?,
            _ => {}
        }
    }
    Ok(())
}

fn pack(root: &Path, directory: &Path, series: &str) -> Result<PathBuf> {
    let image = directory.join(format!("initramfs-{series}.cpio"));
    run(Command::new("sh")
        .args(["-ec", r#"find . | cpio --quiet --create --format=newc --owner=+0:+0 >"$1""#, "pack"])
        .arg(&image)
        .current_dir(root))?;
    Ok(image)
}

fn make_directory(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))
}
