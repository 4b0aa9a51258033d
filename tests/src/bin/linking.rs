//! `tracer-linking`: how many requests are linked right, wrong or not at all, by how servers serve, how many requests are in
//! flight, and whether they carry ids.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use tracer_tests::{
    cluster::{Cluster, judged},
    linking::{self, Load, MODELS, Row},
};

const CONCURRENCY: [usize; 3] = [1, 10, 100];

/// How well calls are linked to requests
#[derive(Parser)]
#[command(name = "tracer-linking")]
struct Arguments {
    /// Only these ways of serving
    #[arg(long, value_parser = MODELS)]
    model: Vec<String>,
    /// Only so many requests in flight
    #[arg(long)]
    concurrency: Vec<usize>,
    /// Requests in a row of the table; one in four of them goes well and isn't counted
    #[arg(long, default_value_t = 1400)]
    requests: usize,
    /// `json` prints one object a row
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The tracer to run
    #[arg(long, env = "TRACER_BIN")]
    tracer: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    judged(|| table(&Arguments::parse()))
}

fn table(arguments: &Arguments) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the chains are made of namespaces and cgroups and need root");
    }
    let Arguments { requests, output, .. } = arguments;
    if *output == Output::Text {
        println!("| serving | in flight | ids | requests | right | wrong | abstained |\n|---|--:|---|--:|--:|--:|--:|");
    }
    let mut good = true;
    for model in
        MODELS.into_iter().filter(|model| arguments.model.is_empty() || arguments.model.iter().any(|m| m == model))
    {
        let cluster = Cluster::up(&linking::cluster(model)?)?;
        let loads = CONCURRENCY.into_iter().flat_map(|concurrency| [true, false].map(|ids| (concurrency, ids)));
        let wanted = |concurrency| arguments.concurrency.is_empty() || arguments.concurrency.contains(&concurrency);
        for (number, (concurrency, ids)) in loads.filter(|(concurrency, _)| wanted(*concurrency)).enumerate() {
            let load = Load { concurrency, ids, requests: *requests };
            let row = linking::measure(&cluster, &arguments.tracer, model, load, number)?;
            good &= row.is_good();
            print(&row, *output)?;
        }
    }
    Ok(good)
}

fn print(row: &Row, output: Output) -> Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string(row)?);
        return Ok(());
    }
    let Row { model, concurrency, ids, requests, right, wrong, abstained } = row;
    let ids = if *ids { "yes" } else { "no" };
    println!("| {model} | {concurrency} | {ids} | {requests} | {right} | {wrong} | {abstained} |");
    Ok(())
}
