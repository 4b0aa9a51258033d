//! `cargo xtask bench`: what the tracer costs, measured.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cargo::{self, cargo};
use crate::{Output, setup};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Beside servers under load, run by run with it and without; root, about 25 minutes
    Http(Http),
    /// Watching a cluster of 10,000 pods on 200 nodes, with 50 pod changes a second
    Kube {
        /// What to print on standard output; `json` ends with one line of numbers
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
        /// How long pods change
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Watch only the pods of one node
        #[arg(long)]
        pods_of_node_only: bool,
    },
}

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Http {
    /// Options of `tracer-bench http`, which `--help` lists
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Http(http) => http.run(),
        Bench::Kube { output, seconds, pods_of_node_only } => kube(*output, *seconds, *pods_of_node_only),
    }
}

impl Http {
    fn run(&self) -> Result<()> {
        setup::run(setup::Report::WhenInstalling)?;
        setup::load()?;
        let bins = ["--bin", "tracer", "--bin", "tracer-bench"];
        let build = cargo(["build", "--release", "--package", "tracer", "--package", "tracer-tests"]);
        cargo::run({ build }.args(bins))?;
        let mut command = cargo::program(&release("tracer-bench"));
        cargo::run(command.arg("http").arg("--tracer").arg(release("tracer")).args(&self.options))
    }
}

/// Only optimised programs are measured.
fn release(name: &str) -> PathBuf {
    cargo::target_dir().join("release").join(name)
}

fn kube(output: Output, seconds: u64, pods_of_node_only: bool) -> Result<()> {
    let mut command = cargo(["bench", "--quiet", "--package", "tracer-tests", "--bench", "kube", "--"]);
    command.args(["--seconds", &seconds.to_string()]);
    if output == Output::Json {
        command.args(["-o", "json"]);
    }
    if pods_of_node_only {
        command.arg("--pods-of-node-only");
    }
    cargo::run(&mut command)
}
