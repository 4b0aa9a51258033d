//! A program of no use, built as `tracer/build.rs` builds the real ones.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::cargo;
use crate::ebpf_toolchain::Toolchain;

const MANIFEST: &str = "[package]\nname = \"trial\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
const PROGRAM: &str = r#"#![no_std]
#![no_main]
#[unsafe(no_mangle)]
#[unsafe(link_section = "socket")]
extern "C" fn trial(_: *mut u8) -> i32 { 0 }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
"#;

pub(super) fn build(toolchain: &Toolchain) -> Result<()> {
    let dir = cargo::target_dir().join("ebpf-trial");
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("Cargo.toml"), MANIFEST)?;
    fs::write(dir.join("src/main.rs"), PROGRAM)?;
    let target = "bpfel-unknown-none";
    let mut build = toolchain.cargo_build(&cargo::path(), target, std::env::consts::ARCH);
    build.current_dir(&dir).arg("--target-dir").arg(dir.join("target"));
    cargo::run(build.stdout(std::io::stderr())).context("the trial program doesn't build")?;
    let object = fs::read(dir.join("target").join(target).join("release/trial")).context("the trial program")?;
    let has = |section: &[u8]| object.windows(section.len()).any(|window| window == section);
    if !object.starts_with(b"\x7fELF") || !has(b".BTF\0") {
        bail!("the trial program was linked without type information: `bpf-linker` doesn't work as expected");
    }
    fs::remove_dir_all(&dir).context("removing the trial program")
}
