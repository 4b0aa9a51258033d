//! `cargo xtask test`: each kind of test, the cheapest first.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cargo::{self, cargo};
use crate::setup;
use crate::steps::Steps;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    steps.step("setup", || setup::run(setup::Report::WhenInstalling))?;
    steps.step("unit tests", || unit(args))?;
    steps.step("core tests", || core(args))?;
    steps.step("release build", build_release)?;
    steps.step("kernel tests", || kernel(args))?;
    steps.summary();
    Ok(())
}

/// What every crate says of itself, without root.
pub(crate) fn unit(args: &[String]) -> Result<()> {
    let exclude = ["--exclude", "tracer-ebpf", "--exclude", "tracer-tests"];
    cargo::run(cargo(["test", "--workspace"]).args(exclude).args(args))
}

/// The pure core, compiled without anything that touches a machine.
pub(crate) fn core(args: &[String]) -> Result<()> {
    cargo::run(cargo(["test", "--package", "tracer", "--no-default-features"]).args(args))
}

/// Real programs in a real kernel, under the test cluster: needs root.
pub(crate) fn kernel(args: &[String]) -> Result<()> {
    cargo::run(cargo(["test", "--package", "tracer-tests"]).args(args).env("TRACER_BIN", binary("tracer")))
}

/// The binaries as users get them, and the test cluster's.
pub(crate) fn build_release() -> Result<()> {
    cargo::run(&mut release_build())
}

pub(crate) fn release_build() -> Command {
    cargo(["build", "--release", "--package", "tracer", "--package", "tracer-tests", "--bins"])
}

pub(crate) fn binary(name: &str) -> PathBuf {
    cargo::target_dir().join("release").join(name)
}
