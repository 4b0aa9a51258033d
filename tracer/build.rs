//! Puts the kernel programs, compiled, into `OUT_DIR/tracer.o` for the library to include.
//!
//! - `TRACER_BPF_OBJECT=FILE` takes a prebuilt object; `TRACER_BPF_SKIP=1` an empty one, for lints only.
//! - Otherwise a second cargo builds `tracer-ebpf`, with the toolchain that `ebpf_toolchain` finds.
//!
//! Without the feature `kernel` there is nothing to do, and no eBPF toolchain is needed.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../xtask/src/ebpf_toolchain.rs"]
mod ebpf_toolchain;

/// What decides the object: its sources, and what they are resolved to.
const INPUTS: &[&str] = &[
    "tracer-ebpf/src",
    "tracer-ebpf/Cargo.toml",
    "tracer-common/src",
    "tracer-common/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
    "xtask/src/ebpf_toolchain.rs",
];

/// What decides which compiler, or which object, is used.
const VARIABLES: &[&str] = &["TRACER_BPF_OBJECT", "TRACER_BPF_SKIP", "TRACER_BPF_RUSTC"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_KERNEL").is_none() {
        return Ok(());
    }
    for variable in VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let object = PathBuf::from(env::var("OUT_DIR")?).join("tracer.o");
    if env::var_os("TRACER_BPF_SKIP").is_some_and(|skip| skip == "1") {
        fs::write(&object, [])?;
        println!("cargo::warning=TRACER_BPF_SKIP=1: this build contains no kernel programs and can only be linted");
        return Ok(());
    }
    if let Some(prebuilt) = env::var_os("TRACER_BPF_OBJECT") {
        let prebuilt = PathBuf::from(prebuilt);
        println!("cargo::rerun-if-changed={}", prebuilt.display());
        if let Err(error) = fs::copy(&prebuilt, &object) {
            println!("cargo::error=TRACER_BPF_OBJECT={}: {error}", prebuilt.display());
        }
        return Ok(());
    }
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.parent().ok_or("the package has no parent directory")?;
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    match ebpf_toolchain::find() {
        Ok(toolchain) => build(&toolchain, root, &object),
        Err(missing) => {
            println!(
                "cargo::error=the kernel programs can't be built because {missing}; run `cargo xtask setup` to \
                 install what is needed, or name a prebuilt object in `TRACER_BPF_OBJECT`"
            );
            Ok(())
        }
    }
}

fn build(toolchain: &ebpf_toolchain::Toolchain, root: &Path, object: &Path) -> Result<(), Box<dyn Error>> {
    for tool in [&toolchain.compiler.rustc, &toolchain.linker.path] {
        println!("cargo::rerun-if-changed={}", tool.display());
    }
    let outer_cargo = PathBuf::from(env::var_os("CARGO").ok_or("CARGO is not set")?);
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    // A target directory of its own: cargo locks the one that this build script runs in.
    let target_dir = object.with_file_name("ebpf");
    let mut cargo = toolchain.cargo_build(&outer_cargo, target, &env::var("CARGO_CFG_TARGET_ARCH")?);
    cargo.current_dir(root).args(["--package", "tracer-ebpf", "--bin", "tracer", "--target-dir"]).arg(&target_dir);
    let out = cargo.output().map_err(|error| format!("{}: {error}", cargo.get_program().display()))?;
    let messages = String::from_utf8_lossy(&out.stderr);
    let kind = if out.status.success() { "warning" } else { "error" };
    // From the first diagnostic on, without cargo's progress.
    let is_diagnostic = |line: &&str| line.starts_with("error") || line.starts_with("warning");
    for line in messages.lines().skip_while(|line| !is_diagnostic(line)).filter(|line| !is_progress(line)) {
        println!("cargo::{kind}={line}");
    }
    if !out.status.success() {
        println!("cargo::error=the kernel programs don't compile with {}", toolchain.compiler.rustc.display());
        return Ok(());
    }
    fs::copy(target_dir.join(target).join("release/tracer"), object)?;
    Ok(())
}

fn is_progress(line: &str) -> bool {
    ["Compiling ", "Finished ", "Downloading ", "Downloaded ", "Blocking ", "Locking ", "Updating "]
        .iter()
        .any(|verb| line.trim_start().starts_with(verb))
}
