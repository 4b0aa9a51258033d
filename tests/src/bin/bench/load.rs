//! Load at a fixed rate. Every request has a time at which it is due, and its latency counts from then, even if nobody was
//! free to send it: what a slow answer holds up is measured, too (no coordinated omission).

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use hdrhistogram::Histogram;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        time::TimeSpec,
    },
};
use serde::{Deserialize, Serialize};

use super::exchange::{Exchange, Kind};

#[derive(Args)]
pub(crate) struct Load {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    milliseconds: u64,
    /// At a fixed rate
    #[arg(long, value_enum, requires = "rate")]
    kind: Option<Kind>,
    #[arg(long)]
    rate: Option<u64>,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value = "/")]
    path: String,
    /// As fast as it goes on one connection: messages of so many bytes, each answered by as many
    #[arg(long)]
    echo: Option<usize>,
    /// As fast as it goes on one connection, one way
    #[arg(long)]
    bulk: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Answers, messages or blocks.
    pub(crate) done: u64,
    /// Requests that were refused or not answered in time.
    pub(crate) failed: u64,
    pub(crate) seconds: f64,
    /// Percentiles in microseconds.
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Loaded {
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }
}

/// Answers are waited for this long after the last request was due.
const PATIENCE: Duration = Duration::from_secs(2);
const BLOCK: usize = 64 << 10;

impl Load {
    pub(crate) fn run(&self) -> Result<()> {
        // Waits end when they are told to, not 50 µs later.
        nix::sys::prctl::set_timerslack(1)?;
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        let loaded = match (self.kind, self.rate, self.echo) {
            (Some(kind), Some(rate), _) => self.at_rate(kind, rate)?,
            (_, _, Some(size)) => self.echo(size)?,
            _ => self.bulk()?,
        };
        println!("{}", serde_json::to_string(&loaded)?);
        Ok(())
    }

    fn at_rate(&self, kind: Kind, rate: u64) -> Result<Loaded> {
        let mut exchanges =
            (0..self.connections).map(|_| Exchange::new(kind, self.to, &self.path)).collect::<Result<Vec<_>>>()?;
        let mut due: Vec<Option<Instant>> = vec![None; exchanges.len()];
        let mut idle: Vec<usize> = (0..exchanges.len()).collect();
        let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
        let total = rate * self.milliseconds / 1000;
        let (mut begun, mut done, mut failed) = (0, 0, 0);
        let start = Instant::now();
        let time_of = |number: u64| start + Duration::from_nanos(1_000_000_000 / rate * number);
        let end = time_of(total) + PATIENCE;
        while done + failed < total {
            let now = Instant::now();
            if now > end {
                break;
            }
            while begun < total && time_of(begun) <= now {
                let Some(free) = idle.pop() else { break };
                match exchanges[free].begin() {
                    Ok(()) => due[free] = Some(time_of(begun)),
                    Err(_) => {
                        failed += 1;
                        idle.push(free);
                    }
                }
                begun += 1;
            }
            let next = if begun < total && !idle.is_empty() { time_of(begun) } else { end };
            for ready in wait(&exchanges, &due, next.saturating_duration_since(Instant::now()))? {
                let Some(since) = due[ready] else { continue };
                match exchanges[ready].progress() {
                    Ok(false) => continue,
                    Ok(true) => {
                        latencies.saturating_record(u64::try_from(since.elapsed().as_nanos())?);
                        done += 1;
                    }
                    Err(_) => failed += 1,
                }
                due[ready] = None;
                // The one that was free longest comes last: all of them take part.
                idle.insert(0, ready);
            }
        }
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(Loaded {
            done,
            failed: total - done,
            seconds: start.elapsed().as_secs_f64(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
        })
    }

    fn echo(&self, size: usize) -> Result<Loaded> {
        let mut stream = self.connect()?;
        let mut message = vec![b'.'; size];
        self.until_the_end(|| {
            stream.write_all(&message)?;
            Ok(stream.read_exact(&mut message)?)
        })
    }

    fn bulk(&self) -> Result<Loaded> {
        let mut stream = self.connect()?;
        let block = vec![b'.'; BLOCK];
        self.until_the_end(|| Ok(stream.write_all(&block)?))
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.to).with_context(|| format!("cannot connect to {}", self.to))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn until_the_end(&self, mut work: impl FnMut() -> Result<()>) -> Result<Loaded> {
        let (start, end) = (Instant::now(), Duration::from_millis(self.milliseconds));
        let mut done = 0;
        while start.elapsed() < end {
            work()?;
            done += 1;
        }
        Ok(Loaded { done, seconds: start.elapsed().as_secs_f64(), ..Loaded::default() })
    }
}

/// Those who have something to read, after at most that time.
fn wait(exchanges: &[Exchange], due: &[Option<Instant>], timeout: Duration) -> Result<Vec<usize>> {
    let busy = exchanges.iter().enumerate().filter(|(number, _)| due[*number].is_some());
    let (numbers, mut descriptors): (Vec<_>, Vec<_>) = busy
        .filter_map(|(number, exchange)| Some((number, PollFd::new(exchange.descriptor()?, PollFlags::POLLIN))))
        .unzip();
    match ppoll(&mut descriptors, Some(TimeSpec::from_duration(timeout)), None) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let ready = numbers.into_iter().zip(&descriptors);
    Ok(ready.filter(|(_, descriptor)| descriptor.any().unwrap_or(false)).map(|(number, _)| number).collect())
}
