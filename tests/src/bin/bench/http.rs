//! What is measured, in which order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};

use super::bpf::Empty;
use super::load::Loaded;
use super::pairs::{Pairs, interleave};
use super::peer::Peer;
use super::report::{Flood, Report, rows};
use super::site::{Beside, Site};
use super::tracer::{Program, Tracer, Wanted};
use super::work::{FAILING_10K, FAILING_MS, FAILURES, OTHERS, RATE_10K, Work};

#[derive(Args)]
pub(crate) struct Http {
    /// The tracer to run
    #[arg(long, env = "TRACER_BIN")]
    tracer: PathBuf,
    /// Pairs of runs for each ratio
    #[arg(long, default_value_t = 30)]
    pairs: usize,
    /// Only what the last line must hold
    #[arg(long)]
    quick: bool,
    /// Compare families of hooks, too
    #[arg(long)]
    families: bool,
    /// Only these parts: what isn't measured is null or zero
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with_all = ["quick", "families"])]
    only: Vec<Part>,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What is measured, in this order.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    StartUp,
    Saturated,
    KernelTime,
    FixedRate,
    Steady,
    Others,
    Attaching,
    Floods,
    Failures,
    Families,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What runs beside the load.
enum Guest {
    Tracer(Tracer),
    #[expect(dead_code, reason = "attached while it lives")]
    Empty(Empty),
    #[expect(dead_code, reason = "runs while it lives")]
    Peer(Peer),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Server,
    Both,
    Empty,
    Syscalls,
    Family(usize),
}

/// What comes and goes with the guest is none of the load's business: a look through `/proc`, maps set free.
const SETTLE: Duration = Duration::from_millis(400);

/// Hooks that are of use together.
const FAMILIES: [(&str, &[&str]); 5] = [
    ("packets (cgroup_skb)", &["egress", "ingress"]),
    ("states (inet_sock_set_state, connect)", &["inet_sock_set_state", "connect4", "connect6"]),
    ("reads (tcp_rcv_space_adjust)", &["tcp_rcv_space_adjust"]),
    (
        "drops and errors",
        &[
            "kfree_skb",
            "icmp_send",
            "tcp_receive_reset",
            "tcp_send_reset",
            "tcp_retransmit_skb",
            "tcp_retransmit_synack",
            "inet_sk_error_report",
        ],
    ),
    ("processes, cgroups", &["mark_victim", "sched_process_exit", "cgroup_mkdir", "cgroup_rmdir"]),
];

/// Of other work than the saturated server, families are compared in fewer pairs.
const FEWER: usize = 3;
const STEADY_MS: u64 = 10_000;

impl Http {
    pub(crate) fn run(&self) -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the hosts are made of namespaces and cgroups, and the tracer loads programs: this needs root");
        }
        let bench = Bench { site: Site::up()?, http: self, begun: Instant::now() };
        let mut report = Report::new(self.pairs);
        for part in Part::value_variants().iter().filter(|part| self.wants(**part)) {
            match part {
                Part::StartUp => bench.start_up(&mut report)?,
                Part::Saturated => bench.saturated(&mut report)?,
                Part::KernelTime => bench.kernel_time(&mut report)?,
                Part::FixedRate => bench.compare(&RATE_10K, &mut report)?,
                Part::Steady => bench.steady(&mut report)?,
                Part::Others => OTHERS.iter().try_for_each(|work| bench.compare(work, &mut report))?,
                Part::Attaching => bench.attaching(&mut report)?,
                Part::Floods => bench.floods(&mut report)?,
                Part::Failures => bench.failures(&mut report)?,
                Part::Families => bench.families(&mut report)?,
            }
        }
        report.print(self.output);
        Ok(())
    }

    fn wants(&self, part: Part) -> bool {
        match part {
            part if !self.only.is_empty() => self.only.contains(&part),
            Part::Families => self.families,
            Part::Others | Part::Attaching | Part::Floods | Part::Failures => !self.quick,
            _ => true,
        }
    }
}

struct Bench<'a> {
    site: Site,
    http: &'a Http,
    begun: Instant,
}

impl Bench<'_> {
    fn say(&self, what: &str) {
        eprintln!("{:>4} s  {what}", self.begun.elapsed().as_secs());
    }

    fn tracer(&self, server_only: bool, hooks: &[&str]) -> Result<Tracer> {
        let cgroup = self.site.cgroup("server");
        let wanted = Wanted { cgroup: server_only.then_some(cgroup.as_path()), hooks };
        Tracer::start(&self.http.tracer, &wanted, &self.site.instance.directory())
    }

    fn guest(&self, condition: Option<Condition>) -> Result<Option<Guest>> {
        Ok(Some(match condition {
            None => return Ok(None),
            Some(Condition::Server) => Guest::Tracer(self.tracer(true, &[])?),
            Some(Condition::Both) => Guest::Tracer(self.tracer(false, &[])?),
            Some(Condition::Family(number)) => Guest::Tracer(self.tracer(false, FAMILIES[number].1)?),
            Some(Condition::Empty) => Guest::Empty(Empty::attach(&self.site.instance.mounts.unified)?),
            Some(Condition::Syscalls) => Guest::Peer(Peer::start(&self.site.instance.directory())?),
        }))
    }

    fn pairs<T: Copy>(
        &self,
        number: usize,
        conditions: &[Condition],
        work: impl Fn() -> Result<T>,
    ) -> Result<Pairs<T>> {
        work()?;
        interleave(number, conditions.len(), |kind| {
            let guest = self.guest(kind.map(|kind| conditions[kind]))?;
            std::thread::sleep(SETTLE);
            let result = work();
            if let Some(Guest::Tracer(tracer)) = guest {
                tracer.stop()?;
            }
            result
        })
    }

    /// How long it takes until the hooks are attached, and how much memory.
    fn start_up(&self, report: &mut Report) -> Result<()> {
        self.say("start-up");
        let mut times = vec![];
        for _ in 0..5 {
            let tracer = self.tracer(false, &[])?;
            times.push(tracer.started_in.as_secs_f64() * 1000.0);
            let (resident, peak) = tracer.memory()?;
            (report.resident_mib, report.startup_peak_mib) = (resident, peak);
            tracer.stop()?;
        }
        times.sort_by(f64::total_cmp);
        report.startup_ms = times[times.len() / 2];
        Ok(())
    }

    fn saturated(&self, report: &mut Report) -> Result<()> {
        let mut conditions = vec![Condition::Server, Condition::Both, Condition::Empty];
        match Peer::start(&self.site.instance.directory()) {
            Ok(_) => conditions.push(Condition::Syscalls),
            Err(error) => eprintln!("no capture at system calls to compare with: {error:#}"),
        }
        self.say("saturated");
        let pairs = self.pairs(self.http.pairs, &conditions, || self.site.saturate(Beside::Server, 1))?;
        let names = ["server", "both", "empty", "syscall_capture"];
        report.rows.extend(rows("saturated", &names[..conditions.len()], &pairs, |rate| *rate, "requests/s"));
        Ok(())
    }

    /// Time in the programs for each request, seen at both ends.
    fn kernel_time(&self, report: &mut Report) -> Result<()> {
        self.say("kernel time");
        let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime)?;
        let empty = Empty::attach(&self.site.instance.mounts.unified)?;
        self.site.saturate(Beside::Server, 2)?;
        report.empty_program_ns = empty.nanoseconds()?;
        drop(empty);
        let tracer = self.tracer(false, &[])?;
        let before = tracer.programs()?;
        let seconds = 3;
        let requests = self.site.saturate(Beside::Server, seconds)? * seconds as f64;
        report.programs = tracer.programs()?.iter().zip(&before).map(|(now, then)| since(now, then)).collect();
        report.requests = requests;
        tracer.stop()?;
        Ok(())
    }

    /// All hooks beside work of the generator.
    fn compare(&self, work: &Work, report: &mut Report) -> Result<()> {
        self.say(work.name);
        // What shows in latencies, programs that do nothing don't.
        let conditions = match work.rate {
            Some(_) => &[Condition::Both][..],
            None => &[Condition::Both, Condition::Empty],
        };
        let pairs = self.pairs(self.http.pairs, conditions, || self.load(work))?;
        for (measure, of) in work.measures() {
            let names = ["both", "empty"].map(|name| if measure.is_empty() { name } else { measure });
            report.rows.extend(rows(work.name, &names[..conditions.len()], &pairs, of, work.unit()));
        }
        Ok(())
    }

    fn load(&self, work: &Work) -> Result<Loaded> {
        let time = work.milliseconds.to_string();
        let rate = work.rate.map(|rate| rate.to_string());
        let mut words = [work.words, &["--milliseconds", &time]].concat();
        words.extend(rate.iter().flat_map(|rate| ["--rate", rate]));
        let loaded = self.site.load(work.beside(), work.server, &words)?;
        let fails = FAILURES.iter().any(|failing| failing.name == work.name);
        if loaded.failed > 0 && !fails {
            eprintln!("      {} of {} were not answered", loaded.failed, loaded.failed + loaded.done);
        }
        Ok(loaded)
    }

    /// What the process itself costs while requests go well, while they fail, and while nothing happens.
    fn steady(&self, report: &mut Report) -> Result<()> {
        self.say("the process itself");
        let tracer = self.tracer(false, &[])?;
        report.agent_cpu_cores_idle = tracer.processors_during(|| {
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        })?;
        let well = Work { milliseconds: STEADY_MS, ..RATE_10K };
        report.agent_cpu_cores_10k_ok = tracer.processors_during(|| self.load(&well).map(drop))?;
        tracer.stop()?;
        let tracer = self.tracer(false, &[])?;
        let before = tracer.processor_time()?;
        let loaded = self.load(&Work { milliseconds: STEADY_MS, ..FAILING_10K })?;
        report.agent_cpu_cores_10k_failing = (tracer.processor_time()? - before).as_secs_f64() / loaded.seconds;
        (_, report.failing_peak_mib) = tracer.memory()?;
        let said = tracer.stop()?;
        let lost = |name: &str| said.coverage["lost"][name].as_u64().unwrap_or_default();
        // Both ends report each of them.
        report.failures = said.summary["failures"].as_u64().unwrap_or_default();
        report.failures_sent = loaded.done;
        report.lost_failures = lost("failures");
        report.lost = said.coverage["lost"].clone();
        Ok(())
    }

    /// A fixed rate while the tracer comes.
    fn attaching(&self, report: &mut Report) -> Result<()> {
        self.say("while hooks are attached");
        let pairs = interleave(self.http.pairs, 1, |kind| {
            std::thread::sleep(SETTLE);
            std::thread::scope(|scope| {
                let load = scope.spawn(|| self.load(&Work { milliseconds: 2000, ..RATE_10K }));
                // Here: it ends with the thread that starts it.
                let tracer = match kind {
                    Some(_) => {
                        std::thread::sleep(SETTLE);
                        Some(self.tracer(false, &[])?)
                    }
                    None => None,
                };
                let loaded = load.join().map_err(|panic| anyhow!("the load failed: {panic:?}"))??;
                tracer.map_or(Ok(()), |tracer| tracer.stop().map(drop))?;
                Ok(loaded)
            })
        })?;
        for (name, percentile) in RATE_10K.measures() {
            report.rows.extend(rows("attaching_10k", &[name], &pairs, percentile, "µs"));
        }
        Ok(())
    }

    /// Failing requests at ever higher rates, until the generator can't follow or something is lost.
    fn floods(&self, report: &mut Report) -> Result<()> {
        self.say("floods of failures");
        for rate in [20_000, 30_000, 40_000, 60_000, 80_000] {
            let tracer = self.tracer(false, &[])?;
            let loaded = self.load(&Work { rate: Some(rate), milliseconds: 3000, ..FAILING_10K })?;
            let said = tracer.stop()?;
            let lost = said.coverage["lost"]["failures"].as_u64().unwrap_or_default();
            report.flood(Flood { rate: loaded.rate(), sent: loaded.done, lost });
            if lost > 0 || loaded.rate() < rate as f64 * 0.9 {
                break;
            }
        }
        Ok(())
    }

    /// What the process costs beside failures of other kinds, each of which it judges.
    fn failures(&self, report: &mut Report) -> Result<()> {
        let outside = Work { name: "10k_from_outside", milliseconds: FAILING_MS, ..FAILING_10K };
        for (work, server_only) in FAILURES.iter().map(|work| (work, false)).chain([(&outside, true)]) {
            self.say(work.name);
            let tracer = self.tracer(server_only, &[])?;
            let cores = tracer.processors_during(|| self.load(work).map(drop))?;
            let said = tracer.stop()?;
            report.failing.push((work.name, cores, said.coverage["lost_events"].as_u64().unwrap_or_default()));
        }
        Ok(())
    }

    /// Each family of hooks alone, and all of them in the same rounds.
    fn families(&self, report: &mut Report) -> Result<()> {
        let mut conditions: Vec<_> = (0..FAMILIES.len()).map(Condition::Family).collect();
        conditions.push(Condition::Both);
        let names: Vec<_> = FAMILIES.iter().map(|(name, _)| *name).chain(["all"]).collect();
        self.say("families: saturated");
        let pairs = self.pairs(self.http.pairs, &conditions, || self.site.saturate(Beside::Server, 1))?;
        report.families.extend(rows("saturated", &names, &pairs, |rate| *rate, "requests/s"));
        for work in [RATE_10K].iter().chain(&OTHERS) {
            self.say(&format!("families: {}", work.name));
            let pairs = self.pairs((self.http.pairs / FEWER).max(1), &conditions, || self.load(work))?;
            let (_, of) = work.measures()[0];
            report.families.extend(rows(work.name, &names, &pairs, of, work.unit()));
        }
        Ok(())
    }
}

fn since(now: &Program, then: &Program) -> Program {
    Program { runs: now.runs - then.runs, nanoseconds: now.nanoseconds - then.nanoseconds, ..now.clone() }
}
