//! `cargo xtask ci` and its static part, `cargo xtask lint`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{self, cargo};
use crate::linking::Linking;
use crate::steps::Steps;
use crate::storm::Storm;
use crate::{Output, demo, deploy, ebpf_toolchain, kernels, setup, test};

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
    test::all(&mut steps, &[])?;
    steps.step("demo", || demo::check(Output::Json))?;
    steps.step("linking", Linking::check)?;
    steps.step("storm", Storm::check)?;
    steps.step("kernels", kernels::check)?;
    steps.step("deploy", deploy::check)?;
    steps.step("container", deploy::container::check_debug)?;
    steps.step("generated files", || unchanged(&before))?;
    steps.summary();
    Ok(())
}

fn static_checks(steps: &mut Steps) -> Result<()> {
    steps.step("repository rules", hygiene::check)?;
    steps.step("format", || cargo::run(&mut cargo(["fmt", "--all", "--check"])))?;
    steps.step("clippy: pure core", || clippy(&["--package", "tracer", "--no-default-features"]))?;
    steps.step("clippy: all", || clippy(&["--workspace", "--exclude", "tracer-ebpf"]))
}

fn clippy(args: &[&str]) -> Result<()> {
    let mut command = cargo(["clippy"]);
    command.args(args).arg("--all-targets");
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
