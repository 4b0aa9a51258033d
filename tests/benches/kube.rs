//! What the watch of a large cluster costs: `cargo xtask bench kube`.
//!
//! A synthetic cluster in a process of its own, through a real list and watch server; here the watch and the snapshot as
//! the tracer has them, without kernel programs, whose rings would add the same 24 MiB to every size of cluster.

#[path = "kube/cluster.rs"]
mod cluster;
#[path = "kube/measure.rs"]
mod measure;

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;
use tracer::event::Event;
use tracer::k8s::Snapshot;
use tracer::k8s::model::Protocol;
use tracer::k8s::policy::{Flow, Party, evaluate};
use tracer::k8s::snapshot::Collection;
use tracer::k8s::watch::{Source, Watch};

use cluster::Size;

#[derive(Parser)]
struct Args {
    /// Serves the cluster; the benchmark starts itself so.
    #[arg(long, hide = true)]
    serve: bool,
    /// `text` or `json`
    #[arg(short, long, default_value = "text")]
    output: String,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Watch only one node's pods.
    #[arg(long)]
    pods_of_node_only: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.serve { cluster::serve(Size::default(), args.seconds) } else { run(&args) }
}

fn run(args: &Args) -> Result<()> {
    let (mut server, kubeconfig) = Server::start(args.seconds)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let node = args.pods_of_node_only.then_some("node-0");
    runtime.block_on(async {
        let before = measure::memory()?.resident;
        let started = Instant::now();
        let mut watch = Watch::start(Source::Kubeconfig(kubeconfig.path().to_owned()), node).await?;
        let (mut snapshot, _) = watch.first(Duration::from_secs(120)).await;
        let listed = started.elapsed();
        let wanted = Size::default();
        let pods = if node.is_some() { wanted.pods / wanted.nodes } else { wanted.pods };
        if snapshot.count(Collection::Pods) != pods || snapshot.count(Collection::Services) != wanted.services {
            bail!("{} pods and {} Services were listed", snapshot.count(Collection::Pods), snapshot.count(Collection::Services));
        }
        let after_list = measure::memory()?;
        server.churn()?;
        let (changes, cpu) = follow(&mut watch, &mut snapshot, Duration::from_secs(args.seconds)).await?;
        let memory = measure::memory()?;
        let lookup_ns = lookups(&snapshot);
        let policy_us = policies(&snapshot);
        let mib = |bytes: u64| (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0;
        if args.output != "json" {
            println!("listed           {} objects in {:.1} s", objects(&snapshot), listed.as_secs_f64());
            println!("resident         {} MiB before, {} MiB listed", mib(before), mib(after_list.resident));
            println!("                 {} MiB after {} s of churn, {changes} changes", mib(memory.resident), args.seconds);
            println!("peak             {} MiB", mib(memory.peak));
            println!("processor        {cpu:.4} cores");
            println!("address lookup   {lookup_ns} ns");
            println!("policy           {policy_us} µs for one flow");
        }
        let result = json!({
            "type": "result", "rss_steady_mib": mib(memory.resident), "rss_peak_mib": mib(memory.peak),
            "cpu_cores": (cpu * 10_000.0).round() / 10_000.0, "lookup_ns": lookup_ns, "policy_us": policy_us,
            "objects": objects(&snapshot), "changes": changes, "listed_s": (listed.as_secs_f64() * 100.0).round() / 100.0,
        });
        if args.output == "json" {
            println!("{result}");
        }
        Ok(())
    })
}

fn objects(snapshot: &Snapshot) -> usize {
    use Collection as C;
    let all = [
        C::Pods,
        C::Services,
        C::EndpointSlices,
        C::NetworkPolicies,
        C::Namespaces,
        C::Nodes,
        C::Events,
        C::Controllers,
    ];
    all.into_iter().map(|collection| snapshot.count(collection)).sum()
}

/// As the pipeline does it; how many changes there were, and how much of a core it took.
async fn follow(watch: &mut Watch, snapshot: &mut Snapshot, time: Duration) -> Result<(usize, f64)> {
    let (started, cpu) = (Instant::now(), measure::processor_time()?);
    let mut count = 0;
    while let Ok(()) = tokio::time::timeout(time.saturating_sub(started.elapsed()), watch.ready()).await {
        let at = u64::try_from(started.elapsed().as_nanos())?;
        for event in watch.take(snapshot) {
            if let Event::Cluster { changes } = event {
                count += changes.len();
                changes.into_iter().for_each(|change| snapshot.apply(at, change));
            }
        }
    }
    let cpu = measure::processor_time()? - cpu;
    Ok((count, cpu.as_secs_f64() / started.elapsed().as_secs_f64()))
}

/// Whose an address is: pods, Services, nodes and strangers in turn.
fn lookups(snapshot: &Snapshot) -> u64 {
    let pods = snapshot.pods().filter_map(|pod| pod.status.pod_ip);
    let services = snapshot.services().filter_map(|service| service.spec.cluster_ip.as_ref()?.parse().ok());
    let mut addresses: Vec<IpAddr> = pods.chain(services).collect();
    // In an order that no cache foresees.
    addresses.sort_by_key(measure::scattered);
    measure::each(&addresses, |address| snapshot.owner_of(*address).is_some()).as_nanos() as u64
}

fn policies(snapshot: &Snapshot) -> f64 {
    let pods: Vec<_> = snapshot.pods().collect();
    let mut pairs: Vec<_> = pods.iter().zip(pods.iter().skip(37)).collect();
    pairs.sort_by_key(|(from, _)| measure::scattered(&from.metadata.uid));
    let time = measure::each(&pairs, |(from, to)| {
        let flow = Flow { from: Party::Pod(from), to: Party::Pod(to), port: 8080, protocol: Protocol::Tcp };
        evaluate(snapshot, &flow).allowed
    });
    (time.as_secs_f64() * 1e8).round() / 100.0
}

/// The serving process; ends with us.
struct Server {
    child: Child,
}

impl Server {
    fn start(seconds: u64) -> Result<(Self, tempfile::NamedTempFile)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", "--seconds", &seconds.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let server = Self { child };
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(line.as_bytes())?;
        Ok((server, file))
    }

    fn churn(&mut self) -> Result<()> {
        Ok(self.child.stdin.as_mut().context("no input")?.write_all(b"go\n")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
