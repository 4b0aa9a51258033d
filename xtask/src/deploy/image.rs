//! `cargo xtask image`: the static binary, alone in an image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo};
use crate::setup;

pub(super) const IMAGE: &str = concat!("localhost/tracer:", env!("CARGO_PKG_VERSION"));
const LARGEST: u64 = 25_000_000;

/// Builds the binary and the image; the image is in a store of its own and in an archive.
pub(crate) fn build() -> Result<()> {
    setup::deploy()?;
    let binary = binary()?;
    let size = fs::metadata(&binary)?.len();
    if size > LARGEST {
        bail!("{} has {size} bytes, more than {LARGEST}", binary.display());
    }
    let context = cargo::target_dir().join("image/context");
    fs::create_dir_all(&context)?;
    fs::copy(&binary, context.join("tracer"))?;
    let mut build = podman();
    build.args(["build", "--quiet", "--tag", IMAGE, "--file", "deploy/Containerfile"]).arg(&context);
    cargo::run(&mut build)?;
    let archive = cargo::target_dir().join("image/tracer.tar");
    if archive.exists() {
        fs::remove_file(&archive)?;
    }
    cargo::run(podman().args(["save", "--quiet", "--output"]).arg(&archive).arg(IMAGE))?;
    let megabytes = size as f64 / 1e6;
    eprintln!("{IMAGE}, {megabytes:.1} MB: `podman load < {}`", archive.display());
    Ok(())
}

/// Podman with a store below the target directory, and nothing of the machine that a container of ours doesn't need.
pub(super) fn podman() -> Command {
    let store = cargo::target_dir().join("image");
    let mut podman = cargo::program(Path::new("podman"));
    podman.arg("--root").arg(store.join("store")).arg("--runroot").arg(store.join("run"));
    podman.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"]);
    podman
}

/// Linked to nothing: glibc, libelf and zlib are in it. The target is named so that build scripts and macros, which run
/// here, are built as ever.
fn binary() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let libelf = cargo::output(cargo::program(Path::new("cc")).arg("-print-file-name=libelf.a"))?;
    let libraries =
        Path::new(libelf.trim()).parent().filter(|dir| dir.is_absolute()).context("libelf.a: libelf-dev")?;
    let mut build = cargo(["build", "--package", "tracer", "--bin", "tracer", "--features", "static"]);
    build.args(["--profile", "image", "--target", &target]);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static").env("LIBBPF_SYS_LIBRARY_PATH", libraries);
    cargo::run(&mut build)?;
    Ok(cargo::target_dir().join(target).join("image/tracer"))
}
