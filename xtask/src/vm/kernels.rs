//! Debian's kernels: the newest package of each series, unpacked below target/vm.

use std::{
    cmp::Reverse,
    env::consts::ARCH,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    command::{Prerequisite, output, run, say},
    setup,
};

/// The oldest kernel that is supported, and the newest long-term one.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// A kernel, unpacked.
pub(crate) struct Kernel {
    /// Its series: `6.1`.
    pub(crate) series: &'static str,
    /// Its release, as uname(1) says it.
    pub(crate) release: String,
    /// The package's files.
    pub(crate) files: PathBuf,
}

impl Kernel {
    /// What boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.files.join("boot").join(format!("vmlinuz-{}", self.release))
    }
}

/// The series that were named, or all.
pub(crate) fn chosen(named: &[String]) -> Result<Vec<&'static str>> {
    if ARCH != "x86_64" {
        return Err(anyhow!(Prerequisite(format!("the machines are x86_64, this host is {ARCH}"))));
    }
    if let Some(unknown) = named.iter().find(|name| !SERIES.contains(&name.as_str())) {
        let known = SERIES.join(", ");
        return Err(anyhow!(Prerequisite(format!("there is no kernel {unknown}: name some of {known}"))));
    }
    Ok(SERIES
        .into_iter()
        .filter(|series| named.is_empty() || named.iter().any(|name| name == series))
        .collect())
}

/// Fetches and unpacks the newest package of a series, unless it is there already.
pub(crate) fn fetch(series: &'static str, directory: &Path) -> Result<Kernel> {
    let package = match newest(series)? {
        Some(package) => package,
        None => {
            setup::update_package_lists();
            newest(series)?.ok_or_else(|| {
                anyhow!(Prerequisite(format!(
                    "apt offers no package linux-image-{series}.*-cloud-amd64: add Debian's security archive \
                     (bookworm has both series) to /etc/apt/sources.list, then `apt-get update`"
                )))
            })?
        }
    };
    let release = package.trim_start_matches(PREFIX).to_owned();
    let kernel = Kernel { series, files: directory.join(&package), release };
    if kernel.image().exists() {
        return Ok(kernel);
    }
    say(format_args!("apt-get download {package}"));
    let aside = directory.join(format!("{package}.part"));
    drop(fs::remove_dir_all(&aside));
    fs::create_dir_all(&aside).with_context(|| format!("make {}", aside.display()))?;
    run(Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", &package])
        .current_dir(&aside))?;
    unpack(&aside, &kernel.release)?;
    drop(fs::remove_dir_all(&kernel.files));
    fs::rename(&aside, &kernel.files).with_context(|| format!("name {}", kernel.files.display()))?;
    Ok(kernel)
}

const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";

/// The name of the newest package of a series; `None` if apt knows none.
fn newest(series: &str) -> Result<Option<String>> {
    let known = output(Command::new("apt-cache").args(["pkgnames", &format!("{PREFIX}{series}.")]))?;
    Ok(newest_of(&known))
}

fn newest_of(names: &str) -> Option<String> {
    let mut names: Vec<&str> = names.lines().filter(|name| name.ends_with(SUFFIX)).collect();
    names.sort_by_key(|name| Reverse(numbers(name)));
    names.first().map(|name| (*name).to_owned())
}

/// Every number of a name: version and ABI, in their order.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|one: char| !one.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

fn unpack(directory: &Path, release: &str) -> Result<()> {
    let files = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let package = files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded nothing")?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(directory))?;
    fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
    if !directory.join("lib").exists() {
        // Since Debian 13 modules are below /usr/lib; depmod looks in /lib.
        symlink("usr/lib", directory.join("lib")).context("link lib")?;
    }
    run(Command::new("/sbin/depmod").arg("-b").arg(directory).arg(release))
}

#[cfg(test)]
mod tests {
    use super::newest_of;

    #[test]
    fn newest_package_is_found_by_its_numbers() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64-dbg\n\
            linux-image-6.1.0-56-cloud-amd64\nlinux-image-6.1.0-57-cloud-amd64-unsigned\n";
        assert_eq!(newest_of(names).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        let names = "linux-image-6.12.95+deb13-cloud-amd64\nlinux-image-6.12.117+deb12-cloud-amd64\n";
        assert_eq!(newest_of(names).as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest_of(""), None);
    }
}
