//! What came of it: lines of JSON, or tables as they stand in `docs/performance.md`.

use serde::Serialize;
use serde_json::{Value, json};

use super::http::Output;
use super::pairs::{Pairs, Ratio};
use super::tracer::Program;

#[derive(Serialize)]
pub(crate) struct Row {
    work: &'static str,
    name: String,
    #[serde(flatten)]
    ratio: Ratio,
    /// Runs without to runs without.
    chance: Ratio,
    /// What the runs without gave.
    without: f64,
    unit: &'static str,
}

/// Failing requests at a rate; each is two events, one of each end.
#[derive(Serialize)]
pub(crate) struct Flood {
    /// Requests a second that were answered.
    pub(crate) rate: f64,
    pub(crate) sent: u64,
    /// Events that the ring had no room for.
    pub(crate) lost: u64,
}

#[derive(Default)]
pub(crate) struct Report {
    pairs: usize,
    pub(crate) rows: Vec<Row>,
    /// Of families of hooks alone.
    pub(crate) families: Vec<Row>,
    floods: Vec<Flood>,
    pub(crate) startup_ms: f64,
    pub(crate) startup_peak_mib: f64,
    pub(crate) resident_mib: f64,
    pub(crate) failing_peak_mib: f64,
    pub(crate) empty_program_ns: f64,
    pub(crate) programs: Vec<Program>,
    pub(crate) requests: f64,
    pub(crate) agent_cpu_cores_idle: f64,
    pub(crate) agent_cpu_cores_10k_ok: f64,
    pub(crate) agent_cpu_cores_10k_failing: f64,
    pub(crate) failures: u64,
    pub(crate) failures_sent: u64,
    pub(crate) lost_failures: u64,
    /// Failures of other kinds: what, processors taken, events lost.
    pub(crate) failing: Vec<(&'static str, f64, u64)>,
    pub(crate) lost: Value,
}

impl Report {
    pub(crate) fn new(pairs: usize) -> Self {
        Self { pairs, ..Self::default() }
    }

    pub(crate) fn flood(&mut self, flood: Flood) {
        eprintln!("        {:.0} failures a second: {} of {} events lost", flood.rate, flood.lost, 2 * flood.sent);
        self.floods.push(flood);
    }

    fn ratio(&self, work: &str, name: &str) -> Value {
        let row = self.rows.iter().find(|row| row.work == work && row.name == name);
        row.map_or(Value::Null, |row| rounded(row.ratio.median, 4))
    }

    /// For each request, net of what calling a program costs that does nothing.
    fn kernel_ns(&self) -> f64 {
        let net = |program: &Program| program.nanoseconds as f64 - program.runs as f64 * self.empty_program_ns;
        self.programs.iter().map(net).sum::<f64>() / self.requests
    }

    fn last_line(&self) -> Value {
        let mut line = json!({
            "type": "result",
            "pairs": self.pairs,
            "saturated_ratio_server": self.ratio("saturated", "server"),
            "saturated_ratio_both": self.ratio("saturated", "both"),
            "saturated_ratio_empty": self.ratio("saturated", "empty"),
            "saturated_ratio_syscall_capture": self.ratio("saturated", "syscall_capture"),
            "p99_ratio_10k": self.ratio("rate_10k", "p99"),
            "kernel_ns_per_request": rounded(self.kernel_ns(), 0),
            "agent_cpu_cores_idle": rounded(self.agent_cpu_cores_idle, 4),
            "agent_cpu_cores_10k_ok": rounded(self.agent_cpu_cores_10k_ok, 4),
            "agent_cpu_cores_10k_failing": rounded(self.agent_cpu_cores_10k_failing, 4),
            "failures_sent": self.failures_sent,
            "failures_told": self.failures,
            "lost_failures": self.lost_failures,
            "lost": self.lost,
            "startup_ms": rounded(self.startup_ms, 0),
            "startup_peak_mib": rounded(self.startup_peak_mib, 1),
            "resident_mib": rounded(self.resident_mib, 1),
            "failing_peak_mib": rounded(self.failing_peak_mib, 1),
        });
        for (key, work, name) in [
            ("connect_p99_ratio_1k", "connect_1k", "p99"),
            ("dns_p99_ratio_5k", "dns_5k", "p99"),
            ("bulk_ratio", "bulk", "both"),
            ("messages_ratio", "messages_128", "both"),
        ] {
            line[key] = self.ratio(work, name);
        }
        for (name, cores, lost) in &self.failing {
            line[format!("agent_cpu_cores_{name}")] = rounded(*cores, 4);
            line[format!("lost_{name}")] = json!(lost);
        }
        let whole = self.floods.iter().filter(|flood| flood.lost == 0).map(|flood| flood.rate);
        line["failures_per_second_without_loss"] = whole.reduce(f64::max).map_or(Value::Null, |rate| rounded(rate, 0));
        line
    }

    pub(crate) fn print(&self, output: Output) {
        if output == Output::Json {
            self.rows.iter().for_each(|row| print(json!({"type": "ratio"}), row));
            self.families.iter().for_each(|row| print(json!({"type": "family"}), row));
            self.programs.iter().for_each(|program| print(json!({"type": "program"}), program));
            self.floods.iter().for_each(|flood| print(json!({"type": "flood"}), flood));
            println!("{}", self.last_line());
            return;
        }
        println!("| work | | ratio | 95 % interval | chance alone | without |\n|---|---|--:|---|---|--:|");
        for Row { work, name, ratio, chance, without, unit } in &self.rows {
            println!(
                "| {work} | {name} | {:.3} | {:.3} to {:.3} | {:.3} to {:.3} | {without:.0} {unit} |",
                ratio.median, ratio.low, ratio.high, chance.low, chance.high
            );
        }
        self.plot();
        self.print_families();
        println!("\n| program | runs a request | ns a run | net ns a request | instructions | verified |");
        println!("|---|--:|--:|--:|--:|--:|");
        for Program { name, runs, nanoseconds, instructions, verified } in &self.programs {
            let (runs, nanoseconds) = (*runs as f64, *nanoseconds as f64);
            let net = (nanoseconds - runs * self.empty_program_ns) / self.requests;
            let each = if runs > 0.0 { nanoseconds / runs } else { 0.0 };
            println!("| {name} | {:.2} | {each:.0} | {net:.0} | {instructions} | {verified} |", runs / self.requests);
        }
        if !self.floods.is_empty() {
            println!("\n| failing requests a second | events | lost |\n|--:|--:|--:|");
            for Flood { rate, sent, lost } in &self.floods {
                println!("| {rate:.0} | {} | {lost} |", 2 * sent);
            }
        }
        println!("\n| | |\n|---|--:|");
        for (name, value) in self.last_line().as_object().into_iter().flatten().filter(|(name, _)| *name != "type") {
            println!("| {name} | {value} |");
        }
    }

    /// A row of each work, a column of each family.
    fn print_families(&self) {
        let works = self.families.chunk_by(|a, b| a.work == b.work);
        for (number, rows) in works.enumerate() {
            if number == 0 {
                let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
                println!(
                    "\n| hooks alone | {} | chance alone |\n|---|{}",
                    names.join(" | "),
                    "---|".repeat(rows.len() + 1)
                );
            }
            let Row { work, chance, .. } = &rows[0];
            let cells: Vec<_> = rows.iter().map(|row| row.ratio).chain([*chance]).map(|r| r.to_string()).collect();
            println!("| {work} | {} |", cells.join(" | "));
        }
    }

    /// The throughputs as a picture, as Mermaid draws it.
    fn plot(&self) {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.unit != "µs").collect();
        let list = |text: &dyn Fn(&Row) -> String| rows.iter().map(|row| text(row)).collect::<Vec<_>>().join(", ");
        println!("\n```mermaid\nxychart-beta horizontal\n    title \"Throughput with the tracer, of that without\"");
        println!("    x-axis [{}]", list(&|row| format!("\"{} {}\"", row.work, row.name)));
        println!(
            "    y-axis \"ratio\" 0.5 --> 1.1\n    bar [{}]\n```",
            list(&|row| format!("{:.3}", row.ratio.median))
        );
    }
}

/// What a measure says of each kind of run, beside chance.
pub(crate) fn rows<T>(
    work: &'static str,
    names: &[&str],
    pairs: &Pairs<T>,
    measure: impl Fn(&T) -> f64,
    unit: &'static str,
) -> Vec<Row> {
    let (found, without) = (pairs.ratios(&measure), pairs.without(&measure));
    let chance = found[found.len() - 1];
    let rows = names.iter().zip(found).map(|(name, ratio)| {
        eprintln!("        {work:<14} {name:<40} {ratio}, {} pairs", ratio.pairs);
        Row { work, name: (*name).to_owned(), ratio, chance, without, unit }
    });
    rows.collect()
}

fn print(mut line: Value, of: &impl Serialize) {
    if let (Value::Object(line), Ok(Value::Object(fields))) = (&mut line, serde_json::to_value(of)) {
        line.extend(fields);
    }
    println!("{line}");
}

fn rounded(value: f64, digits: i32) -> Value {
    let factor = 10f64.powi(digits);
    json!((value * factor).round() / factor)
}
