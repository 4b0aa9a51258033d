//! `tracer-storm`: every scenario that can share a cluster, all at once at random times among healthy traffic, and the
//! score of what the tracer says.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use serde_json::json;
use tracer_tests::{
    capture::{self, Capture},
    cluster::{Cluster, judged},
    scenario::{
        expect,
        runner::{drive, inject},
    },
    storm::{Chance, Score, Site, calm, score::Outcome, site},
};

/// For what nothing waits for, and verdicts that settle.
const PATIENCE: Duration = Duration::from_secs(15);
const SETTLE: Duration = Duration::from_millis(1500);
/// The slowest traffic of a scenario; it begins early enough to end in time.
const LONGEST_TRAFFIC: Duration = Duration::from_secs(12);
/// A site whose traffic can be repeated is hit that often at most.
const ROUNDS: usize = 3;

/// Many faults at once among healthy traffic, and what the tracer makes of them
#[derive(Parser)]
#[command(name = "tracer-storm")]
struct Arguments {
    /// Chooses places and times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long it lasts, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these scenarios
    #[arg(long)]
    only: Vec<String>,
    /// So many of a hundred faults may be told as unknown
    #[arg(long, default_value_t = 5)]
    unknown_percent: usize,
    /// `json` prints one line per fault and false alarm, and one with the score
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The tracer to run
    #[arg(long, env = "TRACER_BIN")]
    tracer: PathBuf,
    /// Keep the tracer's capture here
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    judged(|| storm(&Arguments::parse()))
}

fn storm(arguments: &Arguments) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the storm makes namespaces and cgroups and needs root");
    }
    let mut chance = Chance::new(arguments.seed);
    let scenarios = site::candidates(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))?;
    let sites = site::choose(&scenarios, &mut chance, &arguments.only)?;
    let mut spec = site::together(&sites);
    let calm_urls = calm::prepare(&mut spec, &sites, &mut chance)?;
    let mut cluster = Cluster::up(&spec)?;
    let (pods, duration) = (cluster.plan.pods.len(), Duration::from_secs(arguments.seconds));
    eprintln!("{} scenarios in {pods} pods, {} of them with healthy traffic", sites.len(), calm_urls.len());
    let seconds = (duration + LONGEST_TRAFFIC + PATIENCE * 2).as_secs();
    let mut command = capture::command_for(&arguments.tracer, &cluster, "json", seconds)?;
    if let Some(file) = &arguments.write {
        command.arg("--write").arg(file);
    }
    let mut capture = Capture::run(command, cluster.instance.directory().join("tracer.log"), false)?;

    let faults = sites.iter().flat_map(|site| &site.scenario.faults);
    faults.into_iter().try_for_each(|fault| inject(&mut cluster, fault))?;
    let begin = Instant::now();
    let (answered, void) = rage(&cluster, &sites, &calm_urls, begin, duration, &mut chance)?;

    let expected = || sites.iter().filter(|site| !void.contains(&site.name)).flat_map(|site| &site.scenario.expect);
    capture.wait(PATIENCE, |seen| expected().all(|e| expect::find(&cluster.plan, e, seen).is_some()))?;
    capture.wait(SETTLE, |_| false)?;
    let diagnostics = capture.diagnostics();
    let score = Score::of(&cluster.plan, &sites, void, &capture.finish()?)?;
    eprint!("{diagnostics}");
    report(arguments, &score, answered);
    Ok(score.is_good(arguments.unknown_percent))
}

/// All traffic, each site's at times of its own; how many healthy requests were answered, and the sites where it didn't go
/// as their scenarios say.
fn rage(
    cluster: &Cluster,
    sites: &[Site],
    calm_urls: &[String],
    begin: Instant,
    duration: Duration,
    chance: &mut Chance,
) -> Result<(u32, BTreeSet<String>)> {
    let span = duration.saturating_sub(LONGEST_TRAFFIC).as_millis() as usize;
    std::thread::scope(|scope| {
        let seed = chance.number();
        let calm = scope.spawn(move || calm::drive(cluster, calm_urls, begin + duration, seed));
        let mut running = vec![];
        for site in sites {
            let rounds = if site.repeats() { 1 + chance.below(ROUNDS) } else { 1 };
            let mut times: Vec<u64> = (0..rounds).map(|_| chance.below(span) as u64).collect();
            times.sort_unstable();
            running.push((&site.name, scope.spawn(move || hit(cluster, site, begin, &times))));
        }
        let mut void = BTreeSet::new();
        for (name, site) in running {
            if !site.join().unwrap_or_else(|_| bail!("a site's thread panicked"))? {
                void.insert(name.clone());
            }
        }
        Ok((calm.join().unwrap_or_else(|_| bail!("the healthy traffic's thread panicked"))?, void))
    })
}

/// The site's traffic, at each of the times since the beginning; whether it went as the scenario says.
fn hit(cluster: &Cluster, site: &Site, begin: Instant, times: &[u64]) -> Result<bool> {
    let mut as_said = true;
    for time in times {
        std::thread::sleep((begin + Duration::from_millis(*time)).saturating_duration_since(Instant::now()));
        for traffic in &site.scenario.traffic {
            let report = drive(cluster, traffic)?;
            if report.results != traffic.results {
                as_said = false;
                eprintln!(
                    "{}: the client saw {:?}, the scenario says {:?}",
                    site.name, report.results, traffic.results
                );
            }
        }
    }
    Ok(as_said)
}

fn report(arguments: &Arguments, score: &Score, healthy: u32) {
    let text = arguments.output == Output::Text;
    for fault in &score.faults {
        if !text {
            println!(
                "{}",
                json!({"type": "fault", "fault": fault.site, "expected": fault.expected, "outcome": fault.outcome, "wrong": fault.wrong})
            );
        } else if fault.outcome != Outcome::Right {
            println!("{:?}: {} {}", fault.outcome, fault.site, json!(fault.expected));
            fault.wrong.iter().for_each(|incident| println!("  {incident}"));
        }
    }
    for incident in &score.false_alarms {
        println!(
            "{}",
            if text {
                format!("false alarm: {incident}")
            } else {
                json!({"type": "false-alarm", "incident": incident}).to_string()
            }
        );
    }
    let count = |outcome| score.count(outcome);
    let [right, wrong_cause, wrong_origin] = [Outcome::Right, Outcome::WrongCause, Outcome::WrongOrigin].map(count);
    let [missed, unknown] = [Outcome::Missed, Outcome::Unknown].map(count);
    let (faults, false_alarms, void) = (score.faults.len(), score.false_alarms.len(), score.void.len());
    if text {
        println!(
            "seed {}: {faults} faults among {healthy} healthy requests: {right} right, {wrong_cause} wrong causes, \
             {wrong_origin} wrong origins, {missed} missed, {unknown} unknown, {false_alarms} false alarms; {void} scenarios went otherwise and don't count",
            arguments.seed
        );
        return;
    }
    println!(
        "{}",
        json!({
            "type": "storm", "seed": arguments.seed, "healthy_requests": healthy, "faults": faults, "right": right,
            "wrong_cause": wrong_cause, "wrong_origin": wrong_origin, "missed": missed, "unknown": unknown,
            "false_alarms": false_alarms, "void": void,
        })
    );
}
