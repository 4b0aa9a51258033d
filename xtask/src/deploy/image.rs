//! `cargo xtask image`: the static binary, alone in an image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, cargo};
use crate::{setup, test};

pub(super) const IMAGE: &str = concat!("localhost/tracer:", env!("CARGO_PKG_VERSION"));
/// Not what is shipped: the debug build and the libraries that it is linked to.
pub(super) const DEBUG_IMAGE: &str = concat!("localhost/tracer-debug:", env!("CARGO_PKG_VERSION"));
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
    save(IMAGE, &archive)?;
    let megabytes = size as f64 / 1e6;
    eprintln!("{IMAGE}, {megabytes:.1} MB: `podman load < {}`", archive.display());
    Ok(())
}

/// Packs the debug build that the tests use, in place of the static one whose build takes minutes: under which privileges it
/// runs doesn't depend on how it is built.
pub(super) fn build_debug() -> Result<()> {
    setup::deploy()?;
    let file = fs::read_to_string("deploy/Containerfile")?.replace("COPY tracer /tracer", "COPY . /");
    pack(DEBUG_IMAGE, &test::binary("tracer"), &file)
}

/// An image of a program and the libraries that it is linked to.
pub(super) fn pack(image: &str, program: &Path, file: &str) -> Result<()> {
    let context = context();
    if context.exists() {
        fs::remove_dir_all(&context)?;
    }
    fs::create_dir_all(&context)?;
    let packed = context.join(program.file_name().context("a program without a name")?);
    cargo::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(packed).arg(program))?;
    for library in libraries(program)? {
        let target = context.join(library.strip_prefix("/")?);
        fs::create_dir_all(target.parent().context("a library without a directory")?)?;
        fs::copy(&library, target)?;
    }
    let written = context.join("Containerfile");
    fs::write(&written, file)?;
    cargo::run(podman().args(["build", "--quiet", "--tag", image, "--file"]).arg(&written).arg(&context))
}

fn context() -> PathBuf {
    cargo::target_dir().join("image/debug-context")
}

/// As an archive, which podman and containerd read.
pub(super) fn save(image: &str, archive: &Path) -> Result<()> {
    if archive.exists() {
        fs::remove_file(archive)?;
    }
    cargo::run(podman().args(["save", "--quiet", "--output"]).arg(archive).arg(image))
}

/// What `ldd` says that a program loads: `libz.so.1 => /lib/… (0x…)`, and the loader itself by its path.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = cargo::output(cargo::program(Path::new("ldd")).arg(program))?;
    let word = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(word).collect())
}

/// Of the debug image everything goes; the one that is shipped stays, if there is one.
pub(super) fn remove_debug() -> Result<()> {
    remove(DEBUG_IMAGE)
}

pub(super) fn remove(image: &str) -> Result<()> {
    cargo::run(podman().args(["rmi", "--force", image]).stdout(std::io::stderr()))?;
    fs::remove_dir_all(context()).with_context(|| context().display().to_string())
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
