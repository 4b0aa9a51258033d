//! `tracer policy check`: would this flow be admitted, by which policies, or what is missing.
//!
//! The logic is [`crate::k8s::policy::check`]; here are only the arguments and the printing.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::k8s::Snapshot;
use crate::k8s::dump::{self, DumpError};
use crate::k8s::policy::check::{UsageError, check};

/// Ask what the cluster's NetworkPolicies say
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    #[command(subcommand)]
    pub command: PolicyCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Would this flow be admitted, by which policies, or what is missing
    Check(CheckArgs),
}

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Who opens the connection: a pod or an address
    #[arg(long, value_name = "NS/POD")]
    pub from: String,
    /// Who is called: a pod or an address, with the port as the pod sees it
    #[arg(long, value_name = "NS/POD:PORT[/PROTO]")]
    pub to: String,
    /// Cluster state: a file or directory saved with `kubectl get … -o yaml` (repeatable)
    #[arg(long, value_name = "FILE|DIR", required = true)]
    pub kube_dump: Vec<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum OutputFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The arguments can't be meant.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The cluster state can't be read.
    #[error(transparent)]
    Environment(#[from] DumpError),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

/// The answer; which exit code that is, the caller decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    Allowed,
    Denied,
}

/// Prints the answer to `out`.
///
/// # Errors
/// Bad arguments, unreadable dumps, or an unwritable `out`.
pub fn run(args: &PolicyArgs, out: &mut impl Write) -> Result<Answer, PolicyError> {
    let PolicyCommand::Check(CheckArgs { from, to, kube_dump, output }) = &args.command;
    let snapshot = Snapshot::new(dump::load(kube_dump)?.objects);
    let report = check(&snapshot, from, to)?;
    match output {
        OutputFormat::Text => write!(out, "{report}")?,
        OutputFormat::Json => {
            serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(if report.allowed { Answer::Allowed } else { Answer::Denied })
}
