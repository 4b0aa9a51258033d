//! `cargo xtask ci` and its static part, `cargo xtask lint`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{self, cargo};
use crate::steps::Steps;
use crate::{Output, demo, ebpf_toolchain, setup, test};

mod hygiene;

pub(crate) fn lint() -> Result<()> {
    let mut steps = Steps::default();
    static_checks(&mut steps)?;
    steps.summary();
    Ok(())
}

pub(crate) fn run() -> Result<()> {
    let before = tree()?;
    let mut steps = Steps::default();
    steps.step("setup", || setup::run(setup::Report::WhenInstalling))?;
    static_checks(&mut steps)?;
    steps.step("unit tests", || test::unit(&[]))?;
    steps.step("core tests", || test::core(&[]))?;
    steps.step("release build", test::build_release)?;
    steps.step("demo", || demo::check(Output::Json))?;
    steps.step("kernel tests", || test::kernel(&[]))?;
    steps.step("generated files", || unchanged(&before))?;
    steps.summary();
    Ok(())
}

fn static_checks(steps: &mut Steps) -> Result<()> {
    steps.step("repository rules", hygiene::check)?;
    steps.step("format", || cargo::run(&mut cargo(["fmt", "--all", "--check"])))?;
    steps.step("clippy: pure core", || clippy(&["--package", "tracer", "--no-default-features"]))?;
    let workspace = ["--workspace", "--exclude", "tracer-ebpf"];
    steps.step("clippy: as shipped", || clippy(&workspace))?;
    steps.step("clippy: with tests", || clippy(&[&workspace[..], &["--all-targets"]].concat()))
}

fn clippy(args: &[&str]) -> Result<()> {
    let mut command = cargo(["clippy"]);
    command.args(args);
    // Lints need no kernel programs, only that the file exists.
    if ebpf_toolchain::find().is_err() {
        command.env("TRACER_BPF_SKIP", "1");
    }
    cargo::run(command.args(["--", "-D", "warnings"]))
}

/// Tests write what is generated from the code (schemas, tables in `docs/`); a difference means that the committed
/// file is stale.
fn unchanged(before: &str) -> Result<()> {
    let after = tree()?;
    if after != before {
        cargo::run(git().args(["--no-pager", "diff", "--stat"]))?;
        bail!("building and testing changed files of the repository; commit what they regenerate");
    }
    Ok(())
}

/// Tracked files that differ from the last commit, with their differences, and files that are new.
fn tree() -> Result<String> {
    let status = cargo::output(git().args(["status", "--porcelain"]))?;
    Ok(status + &cargo::output(git().args(["diff", "HEAD"]))?)
}

fn git() -> Command {
    cargo::program("git".as_ref())
}
