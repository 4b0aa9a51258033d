//! Puts the kernel programs, compiled, into `OUT_DIR/tracer.o` for the library to include.
//!
//! - `TRACER_BPF_OBJECT=FILE` takes a prebuilt object; `TRACER_BPF_SKIP=1` an empty one, for lints only.
//! - Otherwise a second cargo builds `tracer-ebpf`, with the toolchain that `ebpf_toolchain` finds.
//!
//! Without the feature `kernel` there is nothing to do, and no eBPF toolchain is needed.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
const VARIABLES: &[&str] =
    &["TRACER_BPF_OBJECT", "TRACER_BPF_SKIP", "TRACER_BPF_RUSTC", "RUSTUP_HOME", "CARGO_HOME", "PATH"];

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
    let ebpf_toolchain::Toolchain { compiler, linker } = toolchain;
    let outer_cargo = PathBuf::from(env::var_os("CARGO").ok_or("CARGO is not set")?);
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    // A target directory of its own: cargo locks the one that this build script runs in.
    let target_dir = object.with_file_name("ebpf");
    let mut cargo = Command::new(compiler.cargo.as_ref().unwrap_or(&outer_cargo));
    clear_inherited(&mut cargo);
    cargo
        .current_dir(root)
        .args(["build", "--package", "tracer-ebpf", "--bin", "tracer", "--release"])
        .args(["--target", target, "-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC", &compiler.rustc)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&linker.path)?);
    if compiler.bootstrap {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    let out = cargo.output().map_err(|error| format!("{}: {error}", cargo.get_program().display()))?;
    let messages = String::from_utf8_lossy(&out.stderr);
    let kind = if out.status.success() { "warning" } else { "error" };
    // From the first diagnostic on, without cargo's progress.
    let is_diagnostic = |line: &&str| line.starts_with("error") || line.starts_with("warning");
    for line in messages.lines().skip_while(|line| !is_diagnostic(line)).filter(|line| !is_progress(line)) {
        println!("cargo::{kind}={line}");
    }
    if !out.status.success() {
        println!("cargo::error=the kernel programs don't compile with {}", compiler.rustc.display());
        return Ok(());
    }
    fs::copy(target_dir.join(target).join("release/tracer"), object)?;
    Ok(())
}

/// `--btf` makes the linker write type information, which needs debug information to be made from.
fn rustflags(linker: &Path) -> Result<OsString, Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut flags = OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\"\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf"));
    flags.push("\x1f-Clinker=");
    flags.push(linker);
    Ok(flags)
}

/// The outer cargo speaks to us by environment, and so it would to the inner one: its flags, compiler wrappers,
/// toolchain and target directory are not for the kernel programs. Where crates come from, and the job server, are.
fn clear_inherited(command: &mut Command) {
    const KEPT: &[&str] =
        &["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_HTTP_", "CARGO_SOURCE_", "CARGO_REGISTR"];
    const CLEARED: &[&str] = &["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "AYA_"];
    const EXACT: &[&str] = &[
        "TARGET",
        "HOST",
        "PROFILE",
        "DEBUG",
        "OPT_LEVEL",
        "OUT_DIR",
        "NUM_JOBS",
        "LD_LIBRARY_PATH",
        "__CARGO_DEFAULT_LIB_METADATA",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if EXACT.contains(&&*text) || (starts(CLEARED) && !starts(KEPT)) {
            command.env_remove(&name);
        }
    }
}

fn is_progress(line: &str) -> bool {
    ["Compiling ", "Finished ", "Downloading ", "Downloaded ", "Blocking ", "Locking ", "Updating "]
        .iter()
        .any(|verb| line.trim_start().starts_with(verb))
}
