//! Kubernetes, built from Debian's source package: the last of which Debian has all of it, dependencies included.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cargo::{self, program};
use crate::kernels::Archive;

const PACKAGE: &str = "kubernetes/bookworm";
const PARTS: &str = "cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kube-proxy cmd/kubelet";

/// The directory that holds the programs, built the first time, which takes some ten minutes.
pub(super) fn programs(home: &Path) -> Result<PathBuf> {
    let built = home.join("kubernetes");
    if !built.exists() {
        let part = home.join("kubernetes.part");
        build(home, &part)?;
        fs::rename(&part, &built)?;
    }
    Ok(built)
}

fn build(home: &Path, built: &Path) -> Result<()> {
    let work = home.join("source");
    for directory in [&work, built] {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
    }
    eprintln!("fetching the source of {PACKAGE}");
    Archive::open(home, "deb-src")?.source(PACKAGE, &work)?;
    let packed = entry(&work, Path::is_file)?;
    cargo::run(program(Path::new("tar")).arg("--extract").arg("--directory").arg(&work).arg("--file").arg(&packed))?;
    let tree = entry(&work, Path::is_dir)?;
    eprintln!("building Kubernetes; this takes some minutes");
    let mut make = program(Path::new("make"));
    make.current_dir(&tree).arg(format!("WHAT={PARTS}")).arg("GOLDFLAGS=-s -w").env_remove("GOFLAGS");
    // Without a repository it can't tell them itself, and clients look at them.
    make.envs([("KUBE_GIT_VERSION", "v1.20.2"), ("KUBE_GIT_MAJOR", "1"), ("KUBE_GIT_MINOR", "20")]);
    make.envs([("KUBE_GIT_COMMIT", "0"), ("KUBE_GIT_TREE_STATE", "clean")]);
    cargo::run(make.stdout(std::io::stderr()))?;
    for part in PARTS.split(' ').filter_map(|part| part.strip_prefix("cmd/")) {
        let made = tree.join("_output/local/go/bin").join(part);
        fs::copy(&made, built.join(part)).with_context(|| made.display().to_string())?;
    }
    fs::remove_dir_all(&work).context("removing the sources")
}

fn entry(directory: &Path, is: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let mut entries = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    entries.find(|path| is(path)).with_context(|| format!("{} doesn't hold what it should", directory.display()))
}
