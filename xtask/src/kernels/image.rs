//! Debian's kernels, by package, from the mirror that the machine's own apt is set to.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, program};
use crate::setup::apt::{self, KEYRING};

/// The newest releases come from where they are tried out; the older ones from the suite that they were made for.
const SUITES: &[(&str, &[&str])] = &[
    ("debian", &["bullseye", "bookworm", "trixie", "trixie-backports", "sid"]),
    ("debian-security", &["bullseye-security", "bookworm-security", "trixie-security"]),
];

/// A kernel unpacked.
pub(super) struct Image {
    pub(super) package: String,
    pub(super) vmlinuz: PathBuf,
    /// The directory that holds `lib/modules`, or `usr/lib/modules`.
    pub(super) modules: PathBuf,
    pub(super) release: String,
}

/// Apt with lists and settings of its own: what the machine has installed isn't touched.
pub(crate) struct Archive {
    home: PathBuf,
}

impl Archive {
    /// For packages (`deb`) or their sources (`deb-src`).
    pub(crate) fn open(home: &Path, kind: &str) -> Result<Self> {
        let archive = Self { home: home.to_owned() };
        for directory in ["lists/partial", "archives/partial", "packages", "unpacked"] {
            fs::create_dir_all(home.join(directory)).with_context(|| home.display().to_string())?;
        }
        let sources = home.join("sources.list");
        if !sources.exists() {
            fs::write(&sources, source_entries(kind)?)?;
            archive.update();
        }
        Ok(archive)
    }

    /// A suite that the mirror doesn't carry is no error: what it would have held is missed later, by name.
    fn update(&self) {
        let _ = cargo::run(self.apt("apt-get").args(["--quiet", "update"]));
    }

    /// The kernel of a series, the newest release for `newest`; downloaded the first time.
    pub(super) fn image(&self, series: &str) -> Result<Image> {
        let package = match fs::read_to_string(self.chosen(series)) {
            Ok(package) => package,
            // Lists age: what they name may have been replaced by a newer version since.
            Err(_) => self.download(series).or_else(|_| {
                self.update();
                self.download(series)
            })?,
        };
        let root = self.home.join("unpacked").join(&package);
        let modules = [root.join("lib/modules"), root.join("usr/lib/modules")].into_iter().find(|dir| dir.is_dir());
        let modules = modules.with_context(|| format!("{package} has no modules"))?;
        let release = fs::read_dir(&modules)?.next().context("no modules")??.file_name();
        let release = release.to_string_lossy().into_owned();
        let vmlinuz = [root.join(format!("boot/vmlinuz-{release}")), modules.join(&release).join("vmlinuz")];
        let vmlinuz =
            vmlinuz.into_iter().find(|path| path.is_file()).with_context(|| format!("{package}: no image"))?;
        Ok(Image { package, vmlinuz, modules: modules.join(&release), release })
    }

    /// Downloads a source package as its authors published it.
    pub(crate) fn source(&self, package: &str, into: &Path) -> Result<()> {
        let mut download = self.apt("apt-get");
        download.current_dir(into).args(["--quiet", "source", "--download-only", "--tar-only", package]);
        cargo::run(download.stdout(std::io::stderr()))
    }

    fn chosen(&self, series: &str) -> PathBuf {
        self.home.join(format!("kernel-{series}"))
    }

    fn download(&self, series: &str) -> Result<String> {
        let names = cargo::output(self.apt("apt-cache").args(["pkgnames", "linux-image-"]))?;
        let package = newest(&names, series).with_context(|| {
            format!("none of the suites has a kernel {series}; delete {} to ask again", self.home.display())
        })?;
        // Since 7.1 the image, its modules and their lists are packages of their own, of the same version.
        let version = package.strip_prefix("linux-image-").unwrap_or(&package);
        let depends = cargo::output(self.apt("apt-cache").args(["depends", "--important", &package]))?;
        let parts = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let parts = parts.filter(|name| name.starts_with("linux-") && name.ends_with(version));
        let root = self.home.join("unpacked").join(&package);
        for name in [package.as_str()].into_iter().chain(parts) {
            let mut download = self.apt("apt-get");
            cargo::run(download.current_dir(self.home.join("packages")).args(["--quiet", "download", name]))?;
            let file = fs::read_dir(self.home.join("packages"))?
                .flatten()
                .map(|entry| entry.path())
                .find(|path| {
                    path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}_")))
                })
                .with_context(|| format!("apt-get download {name} left no file"))?;
            cargo::run(program(Path::new("dpkg-deb")).arg("-x").arg(&file).arg(&root))?;
            fs::remove_file(file)?;
        }
        fs::write(self.chosen(series), &package)?;
        Ok(package)
    }

    fn apt(&self, name: &str) -> Command {
        let mut command = program(Path::new(name));
        let mut option = |key: &str, value: &Path| {
            let mut text = OsString::from(format!("{key}="));
            text.push(value);
            command.arg("-o").arg(text);
        };
        option("Dir::Etc::SourceList", &self.home.join("sources.list"));
        option("Dir::Etc::SourceParts", Path::new("-"));
        option("Dir::State::Lists", &self.home.join("lists"));
        option("Dir::Cache", &self.home);
        for setting in ["APT::Architecture=amd64", "APT::Sandbox::User=root", "Acquire::Languages=none"] {
            command.args(["-o", setting]);
        }
        command
    }
}

/// The newest of a series among package names; of all series for `newest`.
fn newest(names: &str, series: &str) -> Option<String> {
    let of_series = |name: &&str| {
        let version = name.strip_prefix("linux-image-").and_then(|rest| rest.strip_suffix("-cloud-amd64"));
        // A kernel rebuilt for an older distribution isn't the one that people run.
        version.is_some_and(|version| match series {
            "newest" => version.split('.').count() == 3,
            series => version.starts_with(&format!("{series}.")) && !version.contains("deb11"),
        })
    };
    names.lines().filter(of_series).max_by_key(|name| numbers(name)).map(str::to_owned)
}

fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// One line per suite, on the mirror that the machine's own sources name, and as trusted as they are.
fn source_entries(kind: &str) -> Result<String> {
    let mut lines = String::new();
    for (archive, suites) in SUITES {
        let Some(base) = apt::mirror(archive) else { continue };
        for suite in *suites {
            lines += &format!("{kind} [signed-by={KEYRING}] {base} {suite} main\n");
        }
    }
    if lines.is_empty() {
        bail!("apt on this machine has no Debian mirror, where this comes from");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_by_number() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\nlinux-image-6.12.1-cloud-amd64\n\
                     linux-image-6.1.0-0.deb11.60-cloud-amd64\nlinux-image-6.1-cloud-amd64\nlinux-image-7.3.4-cloud-amd64-dbg";
        assert_eq!(newest(names, "6.1").as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest(names, "newest").as_deref(), Some("linux-image-6.12.1-cloud-amd64"));
        assert_eq!(newest(names, "5.10"), None);
    }
}
