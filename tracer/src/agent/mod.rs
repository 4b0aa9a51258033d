//! The DaemonSet's process: the live pipeline without an end, its incidents and counts served and exported.
//!
//! ```text
//!  thread `pipeline`: Live ─▶ Recorder ─┬▶ Metrics ──▶ GET /metrics
//!                                       ├▶ Store ─┬──▶ GET /v1/incidents, server-sent events
//!                                       │         ├──▶ journal
//!                                       │         ╰──▶ OTLP
//!                                       ╰▶ Status ───▶ GET /v1/status, /readyz, /healthz
//! ```
//!
//! The pipeline has a thread of its own and never waits for a reader: everything it writes to is bounded memory behind a
//! short lock, and readers take what changed since they last looked.

pub mod config;
mod count;
mod export;
mod journal;
mod keeper;
mod recorder;
mod requests;
mod server;
mod shared;
mod status;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::cli::args::Kube;
use crate::clock;
use crate::confine;
use crate::correlate::Selection;
use crate::host::HostRoot;
use crate::k8s::Snapshot;
use crate::k8s::watch::Watch;
use crate::kernel;
use crate::pipeline::{Live, PipelineError, Setup, Stop};
use crate::sink::otlp::Item;
use crate::sink::prometheus::Metrics;
use config::{Config, ConfigError};
use keeper::Keeper;
use recorder::Recorder;
use shared::Shared;
use store::Store;

/// Observes until SIGTERM or SIGINT.
///
/// # Errors
/// Where the node can't be observed, the address can't be listened on, the journal can't be opened, or a setting names
/// something that isn't there.
pub fn run(config: Config, snapshot: Snapshot) -> anyhow::Result<()> {
    // Without it nothing would have a name, and nobody would say why.
    if !config.host_root.is_dir() {
        let (field, reason) = ("host_root", format!("there is no directory `{}`", config.host_root.display()));
        return Err(ConfigError::Field { field: field.to_owned(), origin: String::new(), reason }.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(serve(config, snapshot))
}

async fn serve(config: Config, snapshot: Snapshot) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; set `listen` to an address and port that are free", config.listen)
    })?;
    // Larger than any that an earlier process gave, at fewer than a million changes a second.
    let first_revision = u64::try_from(clock::wall_ns() / 1000).unwrap_or_default();
    let store = Store::new(config.incidents.max, first_revision);
    let shared = Arc::new(Shared::new(Metrics::new(config.metrics.limits()), store));
    let keeper = Keeper::open(&config.journal, &shared)?;
    let served = server::serve(listener, Arc::clone(&shared), config.max_connections, server::PATIENCE);
    let server = tokio::spawn(served);
    let (stop_keeping, keep) = oneshot::channel();
    let kept = tokio::spawn(keeper.run(keep));
    let (stop_exporting, export) = oneshot::channel();
    let (sender, exported) = match export::exporter(&config, &shared)? {
        Some((sender, exporter)) => (Some(sender), Some(tokio::spawn(exporter.run(export)))),
        None => (None, None),
    };

    let observed = observe(config, snapshot, Arc::clone(&shared), sender).await;

    shared.status().not_ready("stopping");
    // Who failed before doesn't wait for it.
    let _gone = (stop_keeping.send(()), stop_exporting.send(()));
    kept.await.context("the journal's task failed")?;
    if let Some(exported) = exported {
        exported.await.context("the exporter's task failed")?;
    }
    server.abort();
    observed
}

/// The pipeline, in a thread of its own.
async fn observe(
    config: Config,
    snapshot: Snapshot,
    shared: Arc<Shared>,
    sender: Option<mpsc::Sender<Item>>,
) -> anyhow::Result<()> {
    let (done, result) = oneshot::channel();
    let (read, write) = files(&config);
    let pipeline = move || {
        // Without a receiver the agent is gone.
        let _gone = done.send(pipeline(&config, snapshot, shared, sender));
    };
    thread::Builder::new().name("pipeline".to_owned()).spawn(pipeline).context("cannot start a thread")?;
    confine::drop_all()?;
    if !confine::restrict_files(&read, &write)? {
        tracing::info!("this kernel has no landlock: files are protected by their permissions only");
    }
    result.await.context("the pipeline's thread failed")?
}

/// What the threads that face the network read and write.
fn files(config: &Config) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let otlp = [&config.otlp.ca_file, &config.otlp.cert_file, &config.otlp.key_file];
    let journal = config.journal.path.as_ref().and_then(|path| path.parent());
    (otlp.into_iter().flatten().cloned().collect(), journal.map(Path::to_owned).into_iter().collect())
}

fn pipeline(
    config: &Config,
    snapshot: Snapshot,
    shared: Arc<Shared>,
    sender: Option<mpsc::Sender<Item>>,
) -> anyhow::Result<()> {
    let host_root = HostRoot::new(&config.host_root);
    let Ok(kube) = config.kube.parse::<Kube>();
    let source = kube.source(&config.kube_dump)?;
    let _statistics = match config.ebpf_statistics.then(kernel::count_runs) {
        Some(Ok(counting)) => Some(counting),
        Some(Err(error)) => {
            tracing::warn!(%error, "the kernel doesn't count the programs' runs; it takes Linux 5.8 and CAP_SYS_ADMIN");
            None
        }
        None => None,
    };
    let node = config.node_name.clone().or_else(|| host_root.host_name());
    let mut setup = Setup {
        node: node.clone(),
        kernel: kernel::Options {
            host_root,
            cgroup: config.cgroup.clone(),
            min_status: config.min_status,
            all_requests: false,
            hooks: Vec::new(),
        },
        selection: Selection::default(),
        snapshot,
        cluster: None,
        file: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        let mut stop = Stop::new(None).map_err(PipelineError::Wait)?;
        if let Some(source) = source {
            shared.status().not_ready("waiting for the cluster's state");
            let mut watch = Watch::start(source, node.as_deref().filter(|_| config.pods_of_node_only)).await?;
            let first = watch.first(config.kube_patience.0);
            let Some((snapshot, states)) = stop.unless_asked(first).await else { return Ok(()) };
            setup.snapshot = snapshot;
            setup.cluster = Some((watch, states));
        }
        let live = Live::start(setup, |offset| Recorder::new(shared, config, sender, offset))?;
        confine::keep_for_observing(kernel::features::release().0)?;
        confine::restrict_system_calls()?;
        live.run(stop).await?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Exit, failure};

    #[test]
    fn a_host_that_isnt_there_is_not_observed() {
        let config = Config { host_root: "/nowhere".into(), ..Config::default() };
        let error = run(config, Snapshot::empty()).unwrap_err();
        assert!(error.to_string().contains("`host_root`: ") && failure::exit(&error) == Exit::Usage, "{error}");
    }
}
