//! `cargo xtask bench`: what the tracer costs, measured.

use anyhow::Result;
use clap::Subcommand;

use crate::Output;
use crate::cargo::{self, cargo};

#[derive(Subcommand)]
pub(crate) enum Bench {
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

pub(crate) fn run(bench: &Bench) -> Result<()> {
    let Bench::Kube { output, seconds, pods_of_node_only } = bench;
    let mut command = cargo(["bench", "--quiet", "--package", "tracer-tests", "--bench", "kube", "--"]);
    command.args(["--seconds", &seconds.to_string()]);
    if *output == Output::Json {
        command.args(["-o", "json"]);
    }
    if *pods_of_node_only {
        command.arg("--pods-of-node-only");
    }
    cargo::run(&mut command)
}
