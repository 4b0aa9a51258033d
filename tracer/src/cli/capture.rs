//! `tracer capture`: observes this node and prints incidents as they happen, then a summary.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::args::{self, Kube, NamespacedName, Output};
use super::{Exit, output};
use crate::correlate::Selection;
use crate::host::HostRoot;
use crate::kernel;
use crate::pipeline::{Live, PipelineError, Setup, Stop};
use crate::sink::Printer;

/// Observe this node: incidents as they happen, then a summary
///
/// Ends at the duration, or with Ctrl-C or SIGTERM, always with the summary; a second Ctrl-C ends at once.
#[derive(Args, Debug)]
pub struct Capture {
    /// How long (30s, 5m); until Ctrl-C by default
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    duration: Option<Duration>,
    /// Only incidents that touch this namespace
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Only incidents that touch this pod
    #[arg(long, value_name = "NS/NAME")]
    pod: Option<NamespacedName>,
    /// Only incidents that touch this Service
    #[arg(long, value_name = "NS/NAME")]
    service: Option<NamespacedName>,
    /// Statuses from here on are failures
    #[arg(long, value_name = "STATUS", default_value_t = 500, value_parser = clap::value_parser!(u16).range(100..=599))]
    min_status: u16,
    /// Stream every request, not only failures (costs more)
    #[arg(long)]
    all_requests: bool,
    /// Cluster state: `auto` (a dump if given, else what the node knows) or `off`; a live cluster is not supported yet
    #[arg(long, value_name = "auto|off|KUBECONFIG", default_value = "auto")]
    kube: Kube,
    /// Cluster state from a file or directory saved with `kubectl get … -o yaml` (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    kube_dump: Vec<PathBuf>,
    /// Observe only the sockets of this cgroup v2 subtree; the whole node by default
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Write what was seen to a file for `tracer explain`
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Exit with 1 if there was an incident
    #[arg(long)]
    fail_on_incident: bool,
    /// Print every event, too
    #[arg(long)]
    events: bool,
    /// Name of this node in the cluster; its host name by default
    #[arg(long, value_name = "NAME", env = "TRACER_NODE_NAME")]
    node_name: Option<String>,
    /// Directory where the host's file system is mounted
    #[arg(long, value_name = "DIR", default_value = "/", env = "TRACER_HOST_ROOT")]
    host_root: PathBuf,
}

impl Capture {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        // Before anything is attached: a broken dump is told at once.
        let snapshot = args::snapshot(&self.kube_dump)?.unwrap_or_default();
        let host_root = HostRoot::new(&self.host_root);
        let setup = Setup {
            node: self.node_name.or_else(|| host_root.host_name()),
            kernel: kernel::Options {
                host_root,
                cgroup: self.cgroup,
                min_status: self.min_status,
                all_requests: self.all_requests,
            },
            selection: Selection {
                namespace: self.namespace,
                pod: self.pod.map(|name| name.0),
                service: self.service.map(|name| name.0),
            },
            snapshot,
            file: self.write,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let sink = output::sink(self.output);
        let finished = runtime.block_on(async {
            let stop = Stop::new(self.duration).map_err(PipelineError::Wait)?;
            Live::start(setup, |offset| Printer::new(sink, self.events, offset))?.run(stop).await
        })?;
        let failed = self.fail_on_incident && finished.incidents > 0;
        Ok(if failed { Exit::Incidents } else { Exit::Fine })
    }
}
