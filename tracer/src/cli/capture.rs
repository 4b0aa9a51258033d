//! `tracer capture`: observes this node and prints incidents as they happen, then a summary.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::args::{self, Kube, NamespacedName, Output};
use super::{Exit, output};
use crate::correlate::Selection;
use crate::host::HostRoot;
use crate::k8s::watch::Watch;
use crate::kernel;
use crate::pipeline::{Live, PipelineError, Setup, Stop};
use crate::sink::Printer;

/// For the first state of the cluster; what is late is told as it comes.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(60);

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
    /// Live cluster state: by a kubeconfig, `off`, or `auto`: unless a dump is given, $KUBECONFIG, else the pod's service
    /// account, else none
    #[arg(long, value_name = "auto|off|KUBECONFIG", default_value = "auto", env = "TRACER_KUBE")]
    kube: Kube,
    /// Watch only the pods of this node; those of other nodes are looked up when a failure involves them. Takes less memory in large clusters
    #[arg(long)]
    pods_of_node_only: bool,
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
    /// Attach these hooks only, by their names in `tracer doctor`: to measure what each costs
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide = true)]
    hooks: Vec<String>,
}

impl Capture {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        // Before anything is attached: a broken dump is told at once.
        let snapshot = args::snapshot(&self.kube_dump)?.unwrap_or_default();
        let source = self.kube.source(&self.kube_dump)?;
        let host_root = HostRoot::new(&self.host_root);
        let node = self.node_name.or_else(|| host_root.host_name());
        let mut setup = Setup {
            node: node.clone(),
            kernel: kernel::Options {
                host_root,
                cgroup: self.cgroup,
                min_status: self.min_status,
                all_requests: self.all_requests,
                hooks: self.hooks,
            },
            selection: Selection {
                namespace: self.namespace,
                pod: self.pod.map(|name| name.0),
                service: self.service.map(|name| name.0),
            },
            snapshot,
            cluster: None,
            file: self.write,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let sink = output::sink(self.output);
        let finished = runtime.block_on(async {
            let mut stop = Stop::new(self.duration).map_err(PipelineError::Wait)?;
            if let Some(source) = source {
                let mut watch = Watch::start(source, node.as_deref().filter(|_| self.pods_of_node_only)).await?;
                // Without it, the capture is over as it begins, and says so.
                if let Some((snapshot, states)) = stop.unless_asked(watch.first(SNAPSHOT_PATIENCE)).await {
                    setup.snapshot = snapshot;
                    setup.cluster = Some((watch, states));
                }
            }
            let live = Live::start(setup, |offset| Printer::new(sink, self.events, offset))?;
            anyhow::Ok(live.run(stop).await?)
        })?;
        let failed = self.fail_on_incident && finished.incidents > 0;
        Ok(if failed { Exit::Incidents } else { Exit::Fine })
    }
}
