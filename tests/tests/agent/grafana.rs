//! What people look at: a real Prometheus reads the agent, is asked every query of the dashboards and evaluates the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use serde::Deserialize;
use serde_json::Value;
use tracer_tests::{
    cluster::{Cluster, ClusterSpec},
    scenario::{
        Fault, Scenario, Traffic,
        runner::{drive, inject},
    },
};

use crate::support::{Agent, Program, port, until, within_patience};

/// Metrics of troubles that nothing here causes: asking for them must work, an answer isn't due.
const QUIET: &[&str] = &[
    "tracer_http_refused_connections_total",
    "tracer_incidents_evicted_total",
    "tracer_journal_errors_total",
    "tracer_lost_events_total",
    "tracer_forgotten_total",
    "tracer_otlp_items_total",
    "tracer_process_deaths_total",
    "tracer_series_overflow_total",
    // Of an agent that lacks hooks.
    "(tracer_ebpf_program_attached{job=~\"tracer\",instance=~\".*\"}) == 0",
    // There are failures, and all are explained.
    "cause=\"unknown\"",
    "outcome=\"nxdomain\"",
];

/// A scenario for each alert that an incident makes.
const ALERTS: &[(&str, Option<&str>)] = &[
    ("control-healthy", None),
    ("app-error", Some("TracerAppError")),
    ("control-plane-unavailable", Some("TracerControlPlane")),
    ("crash-loop", Some("TracerPodBroken")),
    ("connection-reset", Some("TracerConnections")),
    ("dns-nxdomain", Some("TracerNameUnknown")),
    ("dns-timeout", Some("TracerDns")),
    ("external-unavailable", Some("TracerExternal")),
    ("fd-exhausted-upstream", Some("TracerResources")),
    ("firewall-drop-pod", Some("TracerFirewall")),
    ("network-policy-drop", Some("TracerPolicyDrop")),
    ("selector-mismatch", Some("TracerServiceBroken")),
    ("unknown", Some("TracerUnexplained")),
    ("upstream-timeout", Some("TracerSlow")),
];
/// What an alert takes, and how often a scenario's traffic is repeated for it.
const FAILURES: u64 = 5;
/// Scenarios at a time.
const TOGETHER: usize = 3;
/// One a second.
const EVALUATIONS: u32 = 5;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

struct Prometheus {
    address: String,
    _program: Program,
}

impl Prometheus {
    fn start(agent: &Agent, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let config = directory.join("prometheus.yml");
        let rules = repository().join("deploy/prometheus/rules.yaml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n\
             - {{job_name: tracer, honor_labels: true, static_configs: [{{targets: ['{}']}}]}}\n",
            rules.display(),
            agent.address
        );
        std::fs::write(&config, text).unwrap();
        let address = format!("127.0.0.1:{}", port());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        Self { address, _program: Program::start(command, &directory.join("log")) }
    }

    /// The answer's series; nothing where it isn't up yet. A query that it doesn't understand is a failure.
    fn query(&self, query: &str) -> Option<Vec<Value>> {
        let url = format!("http://{}/api/v1/query", self.address);
        let output = Command::new("curl")
            .args(["--silent", "--data-urlencode", &format!("query={query}"), &url])
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        // Of a scalar: time and text.
        answer["data"]["result"].as_array().cloned()
    }

    fn firing(&self) -> BTreeSet<String> {
        let series = self.query("count by (alertname) (ALERTS{alertstate=\"firing\"})").unwrap_or_default();
        series.iter().map(|series| series["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

/// A query with everything chosen.
fn fill_in(expr: &str) -> String {
    let filled = [("$__rate_interval", "1m"), ("$__range", "5m"), ("$job", "tracer")];
    let chosen = [("$instance", ".*"), ("$namespace", ".*"), ("$workload", ".*")];
    filled.into_iter().chain(chosen).fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
}

/// Queries by where they are asked.
fn queries() -> BTreeMap<String, String> {
    let mut queries = BTreeMap::new();
    for file in std::fs::read_dir(repository().join("deploy/grafana")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{} / {} {}", dashboard["title"], panel["title"], target["refId"]);
                let expr = target["expr"].as_str().unwrap();
                let expr = fill_in(expr);
                assert!(!expr.contains('$'), "{place}: {expr}");
                assert!(queries.insert(place.clone(), expr).is_none(), "{place} twice");
            }
        }
        // Grafana asks for the values of a label in these series.
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let (series, label) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
            let place = format!("{} / variable {}", dashboard["title"], variable["name"]);
            let expr = format!("count by ({} ({})", label, fill_in(series));
            assert!(queries.insert(place.clone(), expr).is_none(), "{place} twice");
        }
    }
    let rules: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(repository().join("deploy/prometheus/rules.yaml")).unwrap())
            .unwrap();
    for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        if let Some(record) = rule["record"].as_str() {
            queries.insert(format!("rule {record}"), record.to_owned());
        }
    }
    queries
}

#[derive(Deserialize)]
struct Demo {
    cluster: ClusterSpec,
    healthy: Traffic,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    faults: Vec<Fault>,
    traffic: Traffic,
}

#[test]
fn every_query_has_an_answer() {
    let Demo { cluster, healthy, steps } = serde_yaml_ng::from_str(include_str!("../../src/bin/demo.yaml")).unwrap();
    let mut cluster = Cluster::up(&cluster).unwrap();
    let journal = cluster.instance.directory().join("journal");
    let nobody = format!("http://127.0.0.1:{}", port());
    let settings = [
        ("TRACER_JOURNAL_PATH", journal.to_str().unwrap()),
        ("TRACER_EBPF_STATISTICS", "true"),
        ("TRACER_OTLP_ENDPOINT", &nobody),
    ];
    let agent = Agent::start(&cluster, &settings);
    let prometheus = Prometheus::start(&agent, &cluster.instance.directory().join("prometheus"));
    until("Prometheus reads the agent", || prometheus.query("up == 1").filter(|series| !series.is_empty()));
    let refused = ["--url", "http://frontend:9/", "-n", "1"];
    cluster.client("client", &refused).unwrap();
    for Step { faults, traffic } in &steps {
        faults.iter().for_each(|fault| inject(&mut cluster, fault).unwrap());
        // A rate takes two readings: twice, with something in between.
        drive(&cluster, traffic).unwrap();
        if faults.is_empty() {
            drive(&cluster, &healthy).unwrap();
        }
        drive(&cluster, traffic).unwrap();
    }
    let mut unanswered = Vec::new();
    let queries = queries();
    assert!(queries.len() > 60, "{}", queries.len());
    for (place, query) in queries {
        let quiet = QUIET.iter().any(|metric| query.contains(metric));
        let answers = || prometheus.query(&query).filter(|series| quiet || !series.is_empty());
        if within_patience(answers).is_none() {
            unanswered.push(format!("{place}: {query}"));
        }
    }
    assert!(unanswered.is_empty(), "no data for\n{}", unanswered.join("\n"));
}

#[test]
fn every_alert_fires_in_its_scenario_and_only_there() {
    let left = Mutex::new(ALERTS.iter());
    // They wait for Prometheus most of the time.
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some((name, alert)) = { left.lock().unwrap().next() } {
                    fires(name, *alert);
                }
            });
        }
    });
}

/// Fails unless exactly this alert fires in this scenario.
fn fires(name: &str, alert: Option<&str>) {
    let scenario = Scenario::read(&repository().join(format!("tests/scenarios/{name}.yaml"))).unwrap();
    let mut cluster = Cluster::up(&scenario.cluster).unwrap();
    let agent = Agent::start(&cluster, &[]);
    let prometheus = Prometheus::start(&agent, &cluster.instance.directory().join("prometheus"));
    scenario.faults.iter().for_each(|fault| inject(&mut cluster, fault).unwrap());
    let failures = || {
        let incidents = agent.json("/v1/incidents");
        incidents["incidents"].as_array().unwrap().iter().filter_map(|found| found["count"].as_u64()).sum::<u64>()
    };
    for _ in 0..FAILURES {
        scenario.traffic.iter().for_each(|traffic| drop(drive(&cluster, traffic).unwrap()));
        if failures() >= FAILURES {
            break;
        }
    }
    let wanted: BTreeSet<String> = alert.iter().map(|alert| (*alert).to_owned()).collect();
    if within_patience(|| (prometheus.firing() == wanted).then_some(())).is_none() {
        panic!("{name}: {wanted:?}, but {:?} is firing for {}", prometheus.firing(), agent.json("/v1/incidents"));
    }
    // Whatever else is going to fire has done so after a few more evaluations.
    let now = until("the time", || prometheus.query("time()").and_then(|time| time.first()?.as_f64()));
    let later = format!("timestamp(up) > {now} + {EVALUATIONS}");
    until("later evaluations", || prometheus.query(&later).filter(|series| !series.is_empty()));
    assert_eq!(prometheus.firing(), wanted, "{name}");
}
