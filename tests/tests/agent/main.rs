//! The agent beside a real cluster, a real Prometheus and a real OTLP collector.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests")]

mod grafana;
mod live;
mod nodes;
mod otlp;
mod service_account;
mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use serde_json::json;
use support::{Agent, PATIENCE, Program, port, try_get, until};
use tracer_tests::cluster::{Cluster, ClusterSpec};

const SHOP: &str = r"
ip: 4
pods:
  - {name: client, kind: Job}
  - name: frontend
    server: {kind: app, port: 8080, routes: {/checkout: {calls: [{url: 'http://cart/', on_failure: 502}]}, /ok: {body: fine}}}
  - name: cart
    server: {kind: app, port: 8080, routes: {/: {status: 500, body: 'NullPointerException'}}}
services:
  - {name: frontend, port: 80, target_port: 8080}
  - {name: cart, port: 80, target_port: 8080}
";

fn shop() -> Cluster {
    Cluster::up(&serde_yaml_ng::from_str::<ClusterSpec>(SHOP).unwrap()).unwrap()
}

fn request(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.client("client", arguments).unwrap().results.into_keys().collect()
}

#[test]
fn incidents_are_served_counted_and_kept() {
    let cluster = shop();
    let journal = cluster.instance.directory().join("journal");
    let journal = [("TRACER_JOURNAL_PATH", journal.to_str().unwrap())];
    let agent = Agent::start(&cluster, &journal);
    assert_eq!(agent.get("/healthz"), (200, "ok\n".to_owned()));

    let mut stream = TcpStream::connect(agent.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v1/incidents HTTP/1.1\r\nhost: agent\r\naccept: text/event-stream\r\n\r\n").unwrap();
    assert_eq!(request(&cluster, &["--url", "http://frontend/checkout", "-n", "3", "--ids"]), "502");
    let told = BufReader::new(stream).lines().map(Result::unwrap).find(|line| line.starts_with("data: ")).unwrap();
    assert!(told.contains("\"app-error\""), "{told}");

    let incident = until("three failures", || agent.incident("app-error").filter(|found| found["count"] == 3));
    assert_eq!(incident["cause"]["origin"]["workload"], "Deployment/cart");
    assert_eq!(agent.json("/v1/incidents?namespace=shop&since=5m")["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(agent.json("/v1/incidents?namespace=web")["incidents"], json!([]));
    let (status, text) = agent.get("/v1/incidents?since=yesterday");
    assert!(status == 400 && text.contains("`since`"), "{status} {text}");
    let status = agent.json("/v1/status");
    assert!(status["ready"] == true && status["snapshot"]["services"] == 3, "{status}");

    let incidents = ["tracer_incidents_total", "cause=\"app-error\"", "workload=\"Deployment/cart\""];
    assert_eq!(agent.metric(&incidents), Some(3.0));
    let served = ["http_server_request_duration_seconds_count", "workload=\"Deployment/cart\"", "code=\"500\""];
    until("requests are counted", || agent.metric(&served).filter(|count| *count == 3.0));
    let called = [
        "http_client_request_duration_seconds_count",
        "workload=\"Deployment/frontend\"",
        "peer_namespace=\"shop\",peer_name=\"cart\"",
        "error_type=\"500\"",
    ];
    assert_eq!(agent.metric(&called), Some(3.0));
    let exposed = try_get(agent.address, "/metrics", "application/openmetrics-text").unwrap().1;
    let exemplar = exposed.lines().any(|line| line.starts_with("tracer_incidents_total") && line.contains("trace_id="));
    assert!(exemplar && exposed.ends_with("# EOF\n"), "{exposed}");

    // Killed, it has lost nothing, and counts nothing twice.
    until("it is on disk", || {
        let text = std::fs::read_to_string(journal[0].1).ok()?;
        text.lines().next_back()?.contains("\"count\":3").then_some(())
    });
    agent.kill();
    let agent = Agent::start(&cluster, &journal);
    assert_eq!(agent.incident("app-error").unwrap()["count"], 3);
    assert_eq!(agent.metric(&incidents), None);
    assert_eq!(request(&cluster, &["--url", "http://frontend/checkout"]), "502");
    until("the fourth", || agent.incident("app-error").filter(|found| found["count"] == 4));
    assert_eq!(agent.metric(&incidents), Some(1.0));
    assert!(agent.terminate());
}

#[test]
fn what_goes_well_is_counted_for_its_workload() {
    let cluster = shop();
    let agent = Agent::start(&cluster, &[]);
    assert_eq!(request(&cluster, &["--url", "http://frontend/ok", "-n", "3"]), "200");
    let requests = |metric: &str| {
        let metrics = agent.metrics();
        let counts = metrics.lines().filter(|line| line.starts_with(metric)).map(str::to_owned);
        Some(counts.collect::<Vec<_>>()).filter(|counts| !counts.is_empty())
    };
    let served = until("requests are counted", || requests("http_server_request_duration_seconds_count"));
    let [served] = &served[..] else { panic!("{served:?}") };
    assert!(
        served.contains("namespace=\"shop\",workload=\"Deployment/frontend\"") && served.ends_with("} 3"),
        "{served}"
    );
    let made = until("requests are counted", || requests("http_client_request_duration_seconds_count"));
    assert!(made.iter().all(|made| made.contains("namespace=\"shop\",workload=\"Job/client\"")), "{made:?}");
}

#[test]
fn prometheus_scrapes_what_promtool_accepts_and_paths_make_no_series() {
    let cluster = shop();
    let agent = Agent::start(&cluster, &[("TRACER_EBPF_STATISTICS", "true")]);
    let directory = cluster.instance.directory().join("prometheus");
    std::fs::create_dir_all(&directory).unwrap();
    let config = directory.join("prometheus.yml");
    let scrape = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: tracer, honor_labels: true, static_configs: [{{targets: ['{}']}}]}}]\n",
        agent.address
    );
    std::fs::write(&config, scrape).unwrap();
    let address = format!("127.0.0.1:{}", port());
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
    command.arg(format!("--web.listen-address={address}")).arg("--enable-feature=exemplar-storage");
    let _prometheus = Program::start(command, &directory.join("log"));

    assert_eq!(request(&cluster, &["--url", "http://frontend/checkout", "-n", "2", "--ids"]), "502");
    let query = |query: &str| {
        let path = format!("/api/v1/query?query={query}");
        let (_, body) = try_get(address.parse().unwrap(), &path, "*/*")?;
        let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"].get(0).map(|series| series["value"][1].as_str().unwrap_or_default().to_owned())
    };
    let incidents = "sum(tracer_incidents_total{cause=%22app-error%22,workload=%22Deployment/cart%22})";
    until("Prometheus has the incidents", || query(incidents).filter(|value| value == "2"));
    let requests =
        "sum(http_server_request_duration_seconds_count{workload=%22Deployment/cart%22,error_type=%22500%22})";
    until("Prometheus has the requests", || query(requests).filter(|value| value == "2"));
    until("and what the programs cost", || query("sum(tracer_ebpf_program_runs_total)").filter(|runs| runs != "0"));
    assert_eq!(query("up").as_deref(), Some("1"));

    let series = || agent.metric(&["tracer_series{", "http_server_request_duration_seconds"]);
    let before = until("series are counted", series);
    let urls: Vec<String> = (0..10_000).map(|number| format!("http://frontend/item-{number}?q={number}")).collect();
    let arguments: Vec<&str> = urls.iter().flat_map(|url| ["--url", url]).chain(["-n", "10000", "-c", "8"]).collect();
    assert_eq!(request(&cluster, &arguments), "404");
    let counted = ["http_server_request_duration_seconds_count", "workload=\"Deployment/frontend\"", "code=\"404\""];
    until("all are counted", || agent.metric(&counted).filter(|count| *count == 10_000.0));
    // One more status, whatever the number of paths.
    until("series are counted", || series().filter(|now| *now <= before + 1.0));
    let metrics = agent.metrics();
    assert!(!metrics.contains("item-") && !metrics.contains("q="), "a path is a label");
    check(&metrics);
}

/// What Prometheus' own linter says.
fn check(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
