//! rustup's nightly with the sources of its `core`.

use std::env;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{has_program, say};
use crate::cargo;

/// Asks rustup, unless the machine's owner has said that rustup installs nothing by itself.
pub(super) fn install_nightly() -> Result<()> {
    if !has_program("rustup") {
        bail!("there is neither `rustup` nor a packaged Rust compiler with its sources to install");
    }
    if env::var_os("RUSTUP_AUTO_INSTALL").is_some_and(|allowed| allowed == "0") {
        bail!(
            "RUSTUP_AUTO_INSTALL=0 forbids installing a toolchain: run `rustup toolchain install nightly --component rust-src` yourself, or name a compiler that has its sources in `TRACER_BPF_RUSTC`"
        );
    }
    say("installing rustup's nightly with rust-src: the kernel programs need a `core` built for the kernel");
    let mut install = cargo::program(Path::new("rustup"));
    install.args(["toolchain", "install", "nightly", "--component", "rust-src", "--profile", "minimal"]);
    // One try: a network that has no toolchains won't have any later.
    install.arg("--no-self-update").env("RUSTUP_MAX_RETRIES", "0").stdout(std::io::stderr());
    cargo::run(&mut install).context("rustup can't fetch a nightly toolchain")
}
