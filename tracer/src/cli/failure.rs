//! Errors at the edge: the chain of reasons, a hint, and the exit code.

use std::io::{self, Write};

use super::Exit;
use super::policy::PolicyError;
use crate::event::record::ReadError;
use crate::k8s::dump::DumpError;
use crate::k8s::watch::ConnectError;
use crate::kernel::StartError;
use crate::pipeline::PipelineError;
use crate::reasons::chain;

/// The command can't be meant as it was written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// What an error means to a script.
pub fn exit(error: &anyhow::Error) -> Exit {
    let is_usage = error.chain().any(|cause| {
        #[cfg(feature = "agent")]
        if cause.is::<crate::agent::config::ConfigError>() {
            return true;
        }
        cause.is::<Usage>()
            || cause.is::<DumpError>()
            || cause.is::<ReadError>()
            || matches!(cause.downcast_ref::<ConnectError>(), Some(ConnectError::Kubeconfig { .. }))
            || matches!(cause.downcast_ref::<PipelineError>(), Some(PipelineError::Capture(_)))
            || matches!(
                cause.downcast_ref::<PolicyError>(),
                Some(
                    PolicyError::Usage(_)
                        | PolicyError::Environment(_)
                        | PolicyError::Connect(ConnectError::Kubeconfig { .. })
                )
            )
    });
    if is_usage { Exit::Usage } else { Exit::CannotRun }
}

/// Whether the reader of standard output went away.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<PipelineError>().is_some_and(PipelineError::is_broken_pipe)
            || cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Prints the chain of reasons and what to do.
pub fn report(error: &anyhow::Error) {
    let mut out = anstream::stderr().lock();
    let (red, cyan) = (anstyle::AnsiColor::Red.on_default().bold(), anstyle::AnsiColor::Cyan.on_default());
    // Where standard error is gone there's nobody to tell.
    let _ignored = writeln!(out, "{red}error{red:#}: {}", chain(error.as_ref()));
    if let Some(hint) = hint(error) {
        let _ignored = writeln!(out, "{cyan}hint{cyan:#}: {hint}");
    }
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| match cause.downcast_ref::<PipelineError>()? {
        PipelineError::Start(StartError::Preflight(_) | StartError::Load { .. } | StartError::Program { .. }) => {
            Some("`tracer doctor` lists every check with its remedy")
        }
        _ => None,
    })
}
