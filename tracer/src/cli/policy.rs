//! `tracer policy check`: would this flow be admitted, by which policies, or what is missing.
//!
//! The logic is [`crate::k8s::policy::check`]; here are only the arguments and the printing.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::args::Kube;
use crate::event::{Event, WatchState};
use crate::k8s::Snapshot;
use crate::k8s::dump::{self, DumpError};
use crate::k8s::policy::check::{UsageError, check, matrix};
use crate::k8s::watch::{ConnectError, Watch};

const PATIENCE: Duration = Duration::from_secs(60);
/// Without one of these an answer would be a guess.
const NEEDED: [&str; 4] = ["pods", "namespaces", "nodes", "networkpolicies.networking.k8s.io"];

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
    #[arg(long, value_name = "NS/POD", required_unless_present = "matrix", requires = "to")]
    pub from: Option<String>,
    /// Who is called: a pod or an address, with the port as the pod sees it
    #[arg(long, value_name = "NS/POD:PORT[/PROTO]", requires = "from")]
    pub to: Option<String>,
    /// Who can reach whom on which declared port of the namespace
    #[arg(long, requires = "namespace", conflicts_with_all = ["from", "to"])]
    pub matrix: bool,
    /// The namespace of `--matrix`
    #[arg(short, long, value_name = "NS", requires = "matrix")]
    pub namespace: Option<String>,
    /// Cluster state: a file or directory saved with `kubectl get … -o yaml` (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    pub kube_dump: Vec<PathBuf>,
    /// Live cluster state: by a kubeconfig, or `auto`: unless a dump is given, $KUBECONFIG or the pod's service account
    #[arg(long, value_name = "auto|off|KUBECONFIG", default_value = "auto", env = "TRACER_KUBE")]
    pub kube: Kube,
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
    /// The dumps can't be read.
    #[error(transparent)]
    Environment(#[from] DumpError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read {resource} of the cluster, without which no flow can be judged: {reason}")]
    Unread { resource: String, reason: String },
    #[error("cannot start the asynchronous runtime: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

/// The answer; which exit code that is, the caller decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    Allowed,
    Denied,
    /// Of many.
    Matrix,
}

/// Prints the answer to `out`.
///
/// # Errors
/// Bad arguments, no or an unreadable cluster state, or an unwritable `out`.
pub fn run(args: &PolicyArgs, out: &mut impl Write) -> Result<Answer, PolicyError> {
    let PolicyCommand::Check(args) = &args.command;
    let snapshot = snapshot(args)?;
    let answer = match (&args.from, &args.to, &args.namespace) {
        (Some(from), Some(to), _) => {
            let report = check(&snapshot, from, to)?;
            print(&report, args.output, out)?;
            if report.allowed { Answer::Allowed } else { Answer::Denied }
        }
        (_, _, namespace) => {
            print(&matrix(&snapshot, namespace.as_deref().unwrap_or("default"))?, args.output, out)?;
            Answer::Matrix
        }
    };
    out.flush()?;
    Ok(answer)
}

fn print<T: Serialize + Display>(answer: &T, format: OutputFormat, out: &mut impl Write) -> Result<(), PolicyError> {
    match format {
        OutputFormat::Text => write!(out, "{answer}")?,
        OutputFormat::Json => {
            serde_json::to_writer(&mut *out, answer).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn snapshot(args: &CheckArgs) -> Result<Snapshot, PolicyError> {
    let source = args.kube.source(&args.kube_dump).map_err(|error| UsageError(error.to_string()))?;
    let Some(source) = source else {
        if args.kube_dump.is_empty() {
            return Err(UsageError(
                "no cluster state: give a dump (`--kube-dump FILE`) or a live cluster (`--kube KUBECONFIG`)".to_owned(),
            )
            .into());
        }
        return Ok(Snapshot::new(dump::load(&args.kube_dump)?.objects));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PolicyError::Runtime)?;
    let (snapshot, states) = runtime.block_on(async {
        let mut watch = Watch::start(source, None).await?;
        Ok::<_, ConnectError>(watch.first(PATIENCE).await)
    })?;
    for event in states {
        let Event::Watch { resource, state } = event else { continue };
        let reason = match state {
            WatchState::Stale { reason } => reason,
            WatchState::Forbidden => "this role doesn't allow it".to_owned(),
            _ => continue,
        };
        if NEEDED.contains(&resource.as_str()) {
            return Err(PolicyError::Unread { resource, reason });
        }
    }
    Ok(snapshot)
}
