//! `cargo xtask setup`: installs what is missing to build, test and demonstrate, and nothing else. A tool counts as
//! present when it runs, so a second run only asks each tool for its version.

use std::env;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::ebpf_toolchain::{self, Compiler};
use tools::Scope;

pub(crate) mod apt;
mod collector;
mod linker;
mod rustup;
mod tools;
mod trial;

/// What to say when nothing is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Always,
    WhenInstalling,
}

/// Debian's packages of a compiler with the sources of its `core`, and of the LLVM that `bpf-linker` is built with.
/// Both have LLVM 22, so the linker can read what the compiler writes.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];
const LLVM_PACKAGES: &[&str] = &["llvm-22-dev", "libpolly-22-dev"];

pub(crate) fn run(report: Report) -> Result<()> {
    let missing = tools::missing(Scope::Development);
    let toolchain = ebpf_toolchain::find();
    if missing.is_empty() && toolchain.is_ok() && collector::is_present() {
        if report == Report::Always {
            eprintln!("setup: nothing to do, everything that builds, tests and the demo need is installed");
        }
        return Ok(());
    }
    install(Scope::Development)?;
    if let Err(why) = toolchain {
        say(&format!("the kernel programs can't be built: {why}"));
        toolchain_for_kernel_programs()?;
    }
    if !collector::is_present() {
        collector::install()?;
    }
    say("done");
    Ok(())
}

/// What boots other kernels; nothing else needs it.
pub(crate) fn kernels() -> Result<()> {
    run(Report::WhenInstalling)?;
    install(Scope::Kernels)
}

/// What a real kubelet needs around it; only the task that starts one asks for it.
pub(crate) fn node() -> Result<()> {
    install(Scope::Node)
}

/// What generates load, and what does by system calls what the tracer does by packets; only the benchmark needs it.
pub(crate) fn load() -> Result<()> {
    let missing = tools::missing_for_load();
    if missing.is_empty() {
        return Ok(());
    }
    apt::install(&tools::packages(&missing), &tools::reasons(&missing))
}

/// A compiler of Go, which only the measurement of linking needs.
pub(crate) fn go() -> Result<()> {
    if has_program("go") {
        return Ok(());
    }
    apt::install(&["golang-go"], "a Go compiler, for a server whose requests move from thread to thread")
}

/// What checking `deploy/` needs beyond that.
pub(crate) fn deploy() -> Result<()> {
    install(Scope::Deploy)
}

fn install(scope: Scope) -> Result<()> {
    let missing = tools::missing(scope);
    if missing.is_empty() {
        return Ok(());
    }
    apt::install(&tools::packages(&missing), &tools::reasons(&missing))?;
    let still: Vec<_> = tools::missing(scope).iter().map(|tool| tool.name).collect();
    if !still.is_empty() {
        bail!("installed, but don't run: {}", still.join(", "));
    }
    Ok(())
}

fn toolchain_for_kernel_programs() -> Result<()> {
    let compiler = compiler()?;
    let readable = |linker: &ebpf_toolchain::Linker| linker.llvm.is_none_or(|llvm| llvm >= compiler.llvm);
    if !ebpf_toolchain::find_linker().is_some_and(|linker| readable(&linker)) {
        linker::install(compiler.llvm)?;
    }
    let toolchain = ebpf_toolchain::find().map_err(anyhow::Error::msg).context("after installing what was missing")?;
    say("building a trial program for the kernel, to prove that compiler and linker work together");
    trial::build(&toolchain)
}

/// A compiler that the linker, or one that can be built here, will understand.
///
/// The distribution comes first where it has compiler and LLVM of one version. rustup's nightly is the way everywhere
/// else: its LLVM is often newer than any that a stable distribution packages, and then nothing here can link it.
fn compiler() -> Result<Compiler> {
    let llvm = ebpf_toolchain::find_linker().and_then(|linker| linker.llvm);
    let usable = || {
        ebpf_toolchain::compilers().find(|compiler| match llvm {
            Some(llvm) => compiler.llvm <= llvm,
            None => linker::can_build(compiler.llvm),
        })
    };
    if let Some(compiler) = usable() {
        return Ok(compiler);
    }
    if apt::offers(COMPILER_PACKAGES)? {
        apt::install(COMPILER_PACKAGES, "a Rust compiler and the sources of its `core`, to compile it for the kernel")?;
    }
    if ebpf_toolchain::compilers().next().is_none() {
        rustup::install_nightly()?;
    }
    usable()
        .or_else(|| ebpf_toolchain::compilers().next())
        .context("no Rust compiler with the sources of its `core` could be installed")
}

/// Root may install packages; anyone else is told to ask for it.
fn require_root(wanted: &str) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let effective = uids.and_then(|uids| uids.split_whitespace().nth(1));
    if effective != Some("0") {
        bail!("installing {wanted} needs root: run `sudo env \"PATH=$PATH\" cargo xtask setup` once");
    }
    Ok(())
}

fn has_program(name: &str) -> bool {
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn say(what: &str) {
    eprintln!("setup: {what}");
}
