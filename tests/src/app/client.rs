//! The load client that runs in client pods.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    call::{self, Failure, Target},
    tls::Stream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Client {
    /// Where to send requests; several are taken in turn.
    #[arg(long, required = true)]
    pub url: Vec<String>,
    #[arg(long, short, default_value_t = 1)]
    pub number: u32,
    #[arg(long, short, default_value_t = 1)]
    pub concurrency: u32,
    /// Use a connection for more than one request.
    #[arg(long)]
    pub keep_alive: bool,
    /// Send an x-request-id and a traceparent.
    #[arg(long)]
    pub ids: bool,
    #[arg(long, default_value_t = 15_000)]
    pub timeout_ms: u64,
    /// Close the connection this long after sending, without waiting for the answer.
    #[arg(long)]
    pub hang_up_ms: Option<u64>,
    /// Hold every connection idle this long before closing it.
    #[arg(long, default_value_t = 0)]
    pub idle_ms: u64,
    #[arg(long, default_value_t = 0)]
    pub pause_ms: u64,
    #[arg(long, default_value_t = 0)]
    pub retries: u32,
}

/// What came back: statuses and failure names with their counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    pub results: BTreeMap<String, u32>,
}

impl Report {
    #[must_use]
    pub fn count(&self, result: &str) -> u32 {
        self.results.get(result).copied().unwrap_or(0)
    }
}

pub fn run(client: &Client) -> Result<Report> {
    let targets = client.url.iter().map(|url| Target::parse(url)).collect::<Result<Vec<_>>>()?;
    let next = AtomicU32::new(0);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..client.concurrency {
            scope.spawn(|| worker(client, &targets, &next, &report));
        }
    });
    Ok(report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn worker(client: &Client, targets: &[Target], next: &AtomicU32, report: &Mutex<Report>) {
    let mut kept = None;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= client.number {
            break;
        }
        let target = &targets[number as usize % targets.len()];
        let mut result = request(client, target, number, &mut kept);
        for _ in 0..client.retries {
            if result.as_ref().is_ok_and(|status| *status < 500) {
                break;
            }
            result = request(client, target, number, &mut kept);
        }
        let name = result.map_or_else(|failure| failure.to_string(), |status| status.to_string());
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        *report.results.entry(name).or_default() += 1;
        drop(report);
        std::thread::sleep(Duration::from_millis(client.pause_ms));
    }
    if kept.is_some() {
        std::thread::sleep(Duration::from_millis(client.idle_ms));
    }
}

fn request(client: &Client, target: &Target, number: u32, kept: &mut Option<Stream>) -> Result<u16, Failure> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => call::connect(target, client.timeout_ms)?,
    };
    let headers = if client.ids { ids(number) } else { vec![] };
    let patience = client.hang_up_ms.unwrap_or(client.timeout_ms);
    let response = call::send(&mut stream, target, &headers, client.keep_alive, patience)?;
    if client.keep_alive && response.keep_alive {
        *kept = Some(stream);
    } else {
        std::thread::sleep(Duration::from_millis(client.idle_ms));
    }
    Ok(response.status)
}

fn ids(number: u32) -> Vec<(String, String)> {
    let process = std::process::id();
    vec![
        ("x-request-id".into(), format!("req-{process}-{number}")),
        ("traceparent".into(), format!("00-{process:016x}{number:016x}-{:016x}-01", u64::from(number) + 1)),
    ]
}
