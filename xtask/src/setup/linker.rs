//! `bpf-linker`, built against the LLVM of the compiler whose output it links.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{LLVM_PACKAGES, apt, has_program, say};
use crate::cargo::{self, cargo};

const VERSION: &str = "0.13.0";
/// The LLVM versions that this `bpf-linker` can be built with.
const SUPPORTED: std::ops::RangeInclusive<u32> = 21..=23;
/// The one that `LLVM_PACKAGES` brings.
const PACKAGED: u32 = 22;

/// Whether a linker for this compiler's LLVM, or a newer one, is within reach.
pub(super) fn can_build(llvm: u32) -> bool {
    llvm <= PACKAGED || installed(llvm).is_some()
}

/// Builds the linker for a compiler of this LLVM version.
pub(super) fn install(compiler_llvm: u32) -> Result<()> {
    let llvm = match installed(compiler_llvm) {
        Some(llvm) => llvm,
        None if compiler_llvm <= PACKAGED => {
            apt::install(LLVM_PACKAGES, "LLVM's libraries, which `bpf-linker` is built with")?;
            PACKAGED
        }
        None => bail!(
            "`bpf-linker` needs the development files of LLVM {compiler_llvm} or newer (`llvm-config-{compiler_llvm}`), \
             which are not installed; install them or `bpf-linker` itself and run this again"
        ),
    };
    let config = format!("llvm-config-{llvm}");
    let ask = |what| cargo::output(cargo::program(Path::new(&config)).arg(what)).map(|out| out.trim().to_owned());
    let (prefix, libraries) = (ask("--prefix")?, ask("--libdir")?);
    say(&format!("building bpf-linker {VERSION} with LLVM {llvm}: it links the kernel programs (about a minute)"));
    let feature = format!("llvm-{llvm}");
    let mut install = cargo(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"]);
    install
        .args(["--no-default-features", "--features", &feature])
        .env("LLVM_PREFIX", prefix)
        .env("RUSTFLAGS", format!("-L {libraries}"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        // Its own build directory: ours is laid out for this workspace.
        .env_remove("CARGO_TARGET_DIR");
    cargo::run(&mut install).context("building `bpf-linker`")
}

/// The lowest LLVM whose development files are here and that reads this compiler's output.
fn installed(compiler_llvm: u32) -> Option<u32> {
    SUPPORTED.filter(|llvm| *llvm >= compiler_llvm).find(|llvm| has_program(&format!("llvm-config-{llvm}")))
}
