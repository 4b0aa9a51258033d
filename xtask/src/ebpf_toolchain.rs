//! Finds what builds the eBPF object: a `rustc` that has the sources of its own `core`, and a `bpf-linker` whose LLVM
//! can read what that `rustc` writes.
//!
//! `tracer/build.rs` includes this file too, hence `std` only. It only looks: it never installs or downloads.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The `rust-version` of the workspace: what an older compiler is given, it refuses.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A compiler, and the cargo to drive it with.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    pub(crate) rustc: PathBuf,
    /// `None`: the cargo that runs us.
    pub(crate) cargo: Option<PathBuf>,
    /// A release compiler refuses `-Z build-std` unless told otherwise.
    pub(crate) bootstrap: bool,
    pub(crate) llvm: u32,
}

/// `bpf-linker`, and the LLVM it is linked to where the binary tells.
#[derive(Debug, Clone)]
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    pub(crate) llvm: Option<u32>,
}

/// Everything the object needs, beside a network for crates.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: Linker,
}

impl Toolchain {
    /// `cargo build` for the BPF target, with nothing of the surrounding cargo's environment. The caller adds what to
    /// build and the target directory.
    pub(crate) fn cargo_build(&self, outer_cargo: &Path, target: &str, arch: &str) -> Command {
        let Self { compiler, linker } = self;
        let mut cargo = Command::new(compiler.cargo.as_deref().unwrap_or(outer_cargo));
        clear_inherited(&mut cargo);
        // `--btf` makes the linker write type information, and it makes that from debug information.
        let mut flags = OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\"\x1f-Cdebuginfo=2"));
        // Otherwise the linker has what is set to zero or moved done by functions that go byte by byte, and the verifier
        // with them.
        flags.push("\x1f-Clink-arg=--btf\x1f-Clink-arg=--disable-expand-memcpy-in-order\x1f-Clinker=");
        flags.push(&linker.path);
        cargo
            .args(["build", "--release", "--target", target, "-Z", "build-std=core"])
            .env("RUSTC", &compiler.rustc)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_ENCODED_RUSTFLAGS", flags);
        if compiler.bootstrap {
            cargo.env("RUSTC_BOOTSTRAP", "1");
        }
        cargo
    }
}

/// The outer cargo speaks to us by environment, and so it would to the inner one: its flags, compiler wrappers,
/// toolchain and target directory are not for the kernel programs. Where crates come from, and the job server, are.
fn clear_inherited(command: &mut Command) {
    const KEPT: &[&str] =
        &["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_HTTP_", "CARGO_SOURCE_", "CARGO_REGISTR"];
    const CLEARED: &[&str] = &["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN", "AYA_", "LD_LIBRARY_PATH"];
    const SET_FOR_BUILD_SCRIPTS: &[&str] =
        &["TARGET", "HOST", "PROFILE", "DEBUG", "OPT_LEVEL", "OUT_DIR", "NUM_JOBS", "__CARGO_DEFAULT_LIB_METADATA"];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if SET_FOR_BUILD_SCRIPTS.contains(&&*text) || (starts(CLEARED) && !starts(KEPT)) {
            command.env_remove(&name);
        }
    }
}

/// The toolchain to use, or in one clause what is missing.
///
/// 1. `TRACER_BPF_RUSTC`, where set, is the only candidate.
/// 2. rustup's `nightly`, then the toolchain rustup runs by default, when `rust-src` is installed for it.
/// 3. `/usr/bin/rustc`, a distribution's, when its sources are installed.
///
/// A compiler whose LLVM is newer than the linker's is passed over: older LLVM can't read newer bitcode. So is one that is
/// older than this workspace asks for.
pub(crate) fn find() -> Result<Toolchain, String> {
    let linker = find_linker().ok_or("`bpf-linker` is not installed")?;
    let mut too_new = None;
    for compiler in compilers() {
        match linker.llvm {
            Some(llvm) if compiler.llvm > llvm => too_new = too_new.or(Some((compiler, llvm))),
            _ => return Ok(Toolchain { compiler, linker }),
        }
    }
    Err(match too_new {
        Some((compiler, llvm)) => format!(
            "`{}` writes LLVM {} bitcode and `bpf-linker` reads LLVM {llvm} at most",
            compiler.rustc.display(),
            compiler.llvm
        ),
        None => format!("no `rustc` of version {OLDEST} or newer with the sources of its `core` library is installed"),
    })
}

/// `bpf-linker` on `PATH`, or where `cargo install` puts it.
pub(crate) fn find_linker() -> Option<Linker> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let path = env::split_paths(&on_path).chain(cargo_home().map(|home| home.join("bin"))).find_map(|dir| {
        let file = dir.join("bpf-linker");
        file.is_file().then_some(file)
    })?;
    let llvm = linked_llvm(&fs::read(&path).ok()?);
    Some(Linker { path, llvm })
}

/// Every compiler that has its sources and is new enough, best first.
pub(crate) fn compilers() -> impl Iterator<Item = Compiler> {
    candidates().into_iter().filter_map(|(rustc, cargo)| probe(rustc, cargo))
}

fn candidates() -> Vec<(PathBuf, Option<PathBuf>)> {
    if let Some(rustc) = env::var_os("TRACER_BPF_RUSTC") {
        return vec![(rustc.into(), None)];
    }
    let mut found = Vec::new();
    for dir in rustup_toolchains() {
        found.push((dir.join("bin/rustc"), Some(dir.join("bin/cargo"))));
    }
    found.push((PathBuf::from("/usr/bin/rustc"), None));
    found
}

/// Directories of rustup's toolchains that may serve: nightlies, the plain one before dated ones, newest first; then
/// stable ones. Read from the disk, since asking `rustup` can make it install.
fn rustup_toolchains() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let Some(entries) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    let mut names: Vec<(u8, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let channel = match name.strip_prefix("nightly-") {
                Some(rest) if !rest.starts_with(|c: char| c.is_ascii_digit()) => 0,
                Some(_) => 1,
                None if name.starts_with("stable-") => 2,
                None => return None,
            };
            Some((channel, entry.path()))
        })
        .collect();
    names.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    names.into_iter().map(|(_, path)| path).collect()
}

fn probe(rustc: PathBuf, cargo: Option<PathBuf>) -> Option<Compiler> {
    if !rustc.is_file() {
        return None;
    }
    let sysroot = run(&rustc, &["--print", "sysroot"])?;
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
        return None;
    }
    let version = run(&rustc, &["-vV"])?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    let release = field("release: ")?;
    if numbers(release) < numbers(OLDEST) {
        return None;
    }
    let bootstrap = !release.ends_with("-nightly");
    // A distribution's cargo may be missing or older than its rustc; ours drives any compiler near its own version.
    let cargo = cargo.filter(|cargo| cargo.is_file());
    Some(Compiler { rustc, cargo, bootstrap, llvm })
}

fn run(program: &Path, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// `1.97.0-nightly` as `(1, 97)`; `None` is less than any.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map_while(|part| part.parse().ok());
    Some((parts.next()?, parts.next()?))
}

/// The major version in the name of the LLVM library that a binary needs: `libLLVM.so.22.1`, `libLLVM-17.so`.
fn linked_llvm(binary: &[u8]) -> Option<u32> {
    ["libLLVM.so.", "libLLVM-"].iter().find_map(|prefix| {
        let at = binary.windows(prefix.len()).position(|window| window == prefix.as_bytes())?;
        let digits: Vec<u8> = binary[at + prefix.len()..].iter().copied().take_while(u8::is_ascii_digit).collect();
        String::from_utf8(digits).ok()?.parse().ok()
    })
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}
