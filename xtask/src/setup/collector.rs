//! An OTLP collector that isn't ours, for the tests of the exporter: Rotel's program, out of its Python package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::say;
use crate::cargo;

/// The version that the tests know, with the checksum of its package.
const PACKAGE: &str =
    "rotel==0.0.1a15 --hash=sha256:2f4117e58410c933e0dc042a268ef738dab2e3a5d63b5831209acdac2a6ddcb7\n";

/// Where the tests look for it.
fn binary() -> PathBuf {
    cargo::target_dir().join("tools/rotel-agent")
}

pub(super) fn is_present() -> bool {
    let mut command = cargo::program(&binary());
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(super) fn install() -> Result<()> {
    say("fetching the OTLP collector that the exporter's tests speak to");
    let binary = binary();
    let directory = binary.parent().context("the tools' directory")?.join("rotel");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let wanted = directory.join("requirements.txt");
    fs::write(&wanted, PACKAGE).with_context(|| wanted.display().to_string())?;
    let python = || {
        let mut command = cargo::program(Path::new("python3"));
        // Standard output belongs to the command that setup runs for.
        command.current_dir(&directory).stdin(Stdio::null()).stdout(std::io::stderr());
        command
    };
    // The package of one interpreter, whichever is here: the program in it needs none.
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"];
    let package = ["--python-version", "3.11", "--abi", "cp311", "--platform", "manylinux_2_34_x86_64", "-r"];
    cargo::run(python().args(download).args(package).arg(&wanted))?;
    let wheel = fs::read_dir(&directory)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip has downloaded nothing")?;
    cargo::run(python().args(["-m", "zipfile", "-e"]).arg(&wheel).arg("."))?;
    fs::rename(directory.join("rotel/rotel-agent"), &binary).context("the package has no such program")?;
    executable(&binary)?;
    fs::remove_dir_all(&directory).with_context(|| directory.display().to_string())
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| path.display().to_string())
}
