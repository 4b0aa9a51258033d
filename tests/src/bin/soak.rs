//! `tracer-soak`: the agent under load and churn for a while, and whether what it uses grows.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use tracer_tests::{
    cluster::{Cluster, ClusterSpec, judged},
    run::Place,
};

/// The window of events is full after this, the first sizes have been found, and metrics have their series.
const WARM_UP: Duration = Duration::from_secs(150);
/// Of the time: what is remembered by use takes so long to fill, and the heap to find its size.
const FILLING: u32 = 3;
const EVERY: Duration = Duration::from_secs(5);
/// At once, each up to a hundred requests a second.
const CLIENTS: usize = 4;
/// Between two containers: more in a minute than most nodes see in a day.
const CHURN: Duration = Duration::from_millis(50);
const READY: Duration = Duration::from_secs(60);
/// What is remembered by use fills up over hours, with a few hundred bytes for each container that passed.
const MEMORY_SLACK: u64 = 4 << 20;
const MEMORY_PART: u64 = 20;
/// Requests of the reader itself.
const DESCRIPTOR_SLACK: u64 = 4;

const SHOP: &str = r"
ip: 4
pods:
  - {name: client, kind: Job}
  - name: frontend
    server:
      kind: app
      port: 8080
      routes:
        /ok: {calls: [{url: 'http://cart/ok'}]}
        /checkout: {calls: [{url: 'http://cart/fail', on_failure: 502}]}
        /refused: {calls: [{url: 'http://closed/', on_failure: 503}]}
  - {name: cart, server: {kind: app, port: 8080, routes: {/ok: {body: fine}, /fail: {status: 500}}}}
services:
  - {name: frontend, port: 80, target_port: 8080}
  - {name: cart, port: 80, target_port: 8080}
  - {name: closed, selector: {app: cart}, port: 80, target_port: 9}
";

/// The agent under load and churn, and whether what it uses grows
#[derive(Parser)]
#[command(name = "tracer-soak")]
struct Arguments {
    /// How long, in seconds; more than the 150 of the warm-up
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// The tracer to run
    #[arg(long, env = "TRACER_BIN")]
    tracer: PathBuf,
}

fn main() -> ExitCode {
    judged(|| soak(&Arguments::parse()))
}

/// What the agent uses.
#[derive(Clone, Copy, Debug)]
struct Use {
    at: Duration,
    memory: u64,
    descriptors: u64,
    series: u64,
}

fn soak(arguments: &Arguments) -> Result<bool> {
    let duration = Duration::from_secs(arguments.seconds);
    if duration < WARM_UP + EVERY * 8 {
        bail!(
            "give at least {} seconds: the first {} are the warm-up",
            (WARM_UP + EVERY * 8).as_secs(),
            WARM_UP.as_secs()
        );
    }
    let cluster = Cluster::up(&serde_yaml_ng::from_str::<ClusterSpec>(SHOP)?)?;
    let agent = Agent::start(&arguments.tracer, &cluster)?;
    let (stop, requests, containers) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let samples = std::thread::scope(|scope| {
        let mut workers = vec![scope.spawn(|| until(&stop, |round| churn(&cluster, round, &containers)))];
        workers.extend((0..CLIENTS).map(|_| scope.spawn(|| until(&stop, |_| load(&cluster, &requests)))));
        let samples = observe(&agent, duration);
        stop.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.join().map_err(|panic| anyhow::anyhow!("the load failed: {panic:?}"))??;
        }
        samples
    })?;
    let status: Value = serde_json::from_str(&agent.get("/v1/status")?)?;
    let good = judge(&samples);
    let [first, last] = [samples.first(), samples.last()].map(|sample| sample.map_or(0, |sample| sample.memory >> 20));
    println!(
        "{}",
        json!({
            "type": "result", "ok": good, "seconds": arguments.seconds, "requests": requests.into_inner(),
            "containers": containers.into_inner(), "memory_mib": {"start": first, "end": last},
            "lost_events": status["coverage"]["lost_events"], "incidents": status["incidents"],
        })
    );
    Ok(good)
}

fn until(stop: &AtomicBool, work: impl FnMut(u64) -> Result<()>) -> Result<()> {
    (0..).take_while(|_| !stop.load(Ordering::SeqCst)).try_for_each(work)
}

/// Good and failing requests.
fn load(cluster: &Cluster, requests: &AtomicU64) -> Result<()> {
    let urls = ["ok", "ok", "ok", "checkout", "ok", "refused"].map(|path| format!("http://frontend/{path}"));
    let words: Vec<&str> = urls.iter().flat_map(|url| ["--url", url]).collect();
    cluster.client("client", &[&words[..], &["-n", "300", "--pause-ms", "10", "--ids"]].concat())?;
    requests.fetch_add(300, Ordering::Relaxed);
    Ok(())
}

/// A container of a pod of its own that comes, resolves names, fails in a way of its own and goes.
fn churn(cluster: &Cluster, round: u64, containers: &AtomicU64) -> Result<()> {
    let client = cluster.plan.pods.iter().find(|pod| pod.is("client")).context("the client")?;
    let mut pod = client.clone();
    pod.uid = format!("{round:08x}-0000-4000-8000-000000000000");
    let cgroup = cluster.pods_cgroup(false).join(pod.cgroup(cluster.plan.cgroups, &format!("{round:064x}")));
    let words = [format!("http://frontend/missing-{round}"), format!("http://nowhere-{round}/")];
    let arguments = ["--url", &words[0], "--url", &words[1], "-n", "2", "--timeout-ms", "1000"];
    let next = Instant::now() + CHURN;
    cluster.client_of("client", &cgroup, &arguments)?;
    std::thread::sleep(next.saturating_duration_since(Instant::now()));
    containers.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn observe(agent: &Agent, duration: Duration) -> Result<Vec<Use>> {
    let begun = Instant::now();
    let mut samples = vec![];
    while begun.elapsed() < duration {
        std::thread::sleep(EVERY);
        let sample = agent.sample(begun.elapsed())?;
        let Use { at, memory, descriptors, series } = sample;
        eprintln!("{:4} s  {:6} KiB  {descriptors} descriptors  {series} series", at.as_secs(), memory >> 10);
        samples.push(sample);
    }
    Ok(samples)
}

/// The most used in the second half of the time after a third is no more than in the first, but for what still fills up.
fn judge(samples: &[Use]) -> bool {
    let from = samples.last().map_or(WARM_UP, |last| last.at / FILLING).max(WARM_UP);
    let warm: Vec<&Use> = samples.iter().filter(|sample| sample.at >= from).collect();
    let (before, after) = warm.split_at(warm.len() / 2);
    let most = |part: &[&Use], of: fn(&Use) -> u64| part.iter().map(|sample| of(sample)).max().unwrap_or(0);
    let grows = |what: &str, of: fn(&Use) -> u64, slack: u64| {
        let (before, after) = (most(before, of), most(after, of));
        let grows = after > before + slack;
        eprintln!("{what}: at most {before}, then {after}{}", if grows { ": it grows" } else { "" });
        grows
    };
    let memory = most(before, |sample| sample.memory);
    let grown = [
        grows("memory", |sample| sample.memory, MEMORY_SLACK.max(memory / MEMORY_PART)),
        grows("descriptors", |sample| sample.descriptors, DESCRIPTOR_SLACK),
        grows("series", |sample| sample.series, 0),
    ];
    !grown.contains(&true)
}

struct Agent {
    child: Child,
    address: SocketAddr,
}

impl Agent {
    fn start(tracer: &Path, cluster: &Cluster) -> Result<Self> {
        // Free until the agent takes it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let directory = cluster.instance.directory();
        let log = directory.join("agent.log");
        let mut command = Command::new(tracer);
        command
            .arg("agent")
            .env("TRACER_LISTEN", address.to_string())
            .env("TRACER_KUBE_DUMP", format!("['{}']", cluster.write_dump()?.display()))
            .env("TRACER_CGROUP", cluster.pods_cgroup(false))
            .env("TRACER_JOURNAL_PATH", directory.join("journal"))
            .stdin(Stdio::null())
            .stderr(File::create(&log)?);
        Place::default().apply(&mut command)?;
        let agent = Self { child: command.spawn().with_context(|| tracer.display().to_string())?, address };
        let deadline = Instant::now() + READY;
        while agent.get("/readyz").is_err() {
            if Instant::now() > deadline {
                bail!("the agent isn't ready: {}", fs::read_to_string(&log)?);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(agent)
    }

    /// The body of a good answer.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(READY))?;
        // HTTP/1.0 knows no chunks.
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("{path}: {head}");
        }
        Ok(body.to_owned())
    }

    fn sample(&self, at: Duration) -> Result<Use> {
        let metrics = self.get("/metrics")?;
        let series = metrics.lines().filter(|line| !line.starts_with('#')).count() as u64;
        let value = |name: &str| -> Result<u64> {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("no {name}"))?.parse::<f64>()? as u64)
        };
        Ok(Use { at, memory: value("process_resident_memory_bytes")?, descriptors: value("process_open_fds")?, series })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
