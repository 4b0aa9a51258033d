//! The exporter and a real OTLP collector; TLS is ended by a real proxy, since the collector speaks none.

use std::path::{Path, PathBuf};
use std::process::Command;

use tracer_tests::cluster::{Cluster, ClusterSpec};
use tracer_tests::server::tls;

use super::support::{Agent, Program, port, until};
use super::{request, shop};

/// Running, and its log.
fn collector(cluster: &Cluster, grpc: &str, http: &str) -> (Program, PathBuf) {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools/rotel-agent");
    let log = cluster.instance.directory().join("collector.log");
    let mut command = Command::new(program);
    command.args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log", "logs"]);
    command.args(["--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-grpc-endpoint", grpc, "--otlp-http-endpoint", http]);
    (Program::start(command, &log), log)
}

fn items(agent: &Agent, signal: &str, outcome: &str) -> Option<f64> {
    agent.metric(&["tracer_otlp_items_total", signal, outcome])
}

fn sent(agent: &Agent) {
    let sent = |signal: &str| items(agent, signal, "sent");
    until("both were sent", || sent("traces").zip(sent("logs")).filter(|counts| *counts == (1.0, 1.0)));
}

#[test]
fn a_collector_that_comes_late_gets_traces_and_records_by_either_protocol() {
    for protocol in ["grpc", "http"] {
        let cluster = shop();
        let (grpc, http) = (format!("127.0.0.1:{}", port()), format!("127.0.0.1:{}", port()));
        let endpoint = format!("http://{}", if protocol == "grpc" { &grpc } else { &http });
        let settings = [("TRACER_OTLP_ENDPOINT", endpoint.as_str()), ("TRACER_OTLP_PROTOCOL", protocol)];
        let agent = Agent::start(&cluster, &settings);
        assert_eq!(request(&cluster, &["--url", "http://frontend/checkout", "-n", "1", "--ids"]), "502");
        let incident = until("the incident", || agent.incident("app-error"));
        until("nobody takes it", || agent.metric(&["tracer_otlp_retries_total", "traces"]));
        let (_collector, log) = collector(&cluster, &grpc, &http);
        sent(&agent);
        let trace_id = incident["symptom"]["trace_id"].as_str().unwrap();
        let path = incident["path"].as_array().unwrap();
        let seen = until("the collector has them", || {
            let text = std::fs::read_to_string(&log).ok()?;
            let spans = text.matches("Span #").count();
            (spans >= path.len() && text.contains("LogRecord #")).then_some(text)
        });
        for part in [trace_id, "k8s.deployment.name", "http.response.status_code", "tracer.cause", "app-error"] {
            assert!(seen.contains(part), "{protocol}: no {part} in {seen}");
        }
        assert!(agent.terminate(), "{protocol}");
    }
}

const FAILING: &str = r"
ip: 4
pods:
  - {name: client, kind: Job}
  - name: cart
    server: {kind: app, port: 8080, routes: {/a: {status: 500}, /b: {status: 500}, /c: {status: 500}, /d: {status: 500}}}
services:
  - {name: cart, port: 80, target_port: 8080}
";

/// A proxy that asks for a client certificate and a token.
fn guard(directory: &Path, (grpc, http): (&str, &str)) -> (Program, [String; 2]) {
    tls::write_authority(directory).unwrap();
    let server = tls::write_certificate(directory, "guard", &["localhost"]).unwrap();
    let ports = [port(), port()];
    let mut config = "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n".to_owned();
    for (port, to) in ports.iter().zip([format!("{grpc} proto h2"), http.to_owned()]) {
        config += &format!(
            "listen otlp-{port}\n bind 127.0.0.1:{port} ssl crt {} ca-file {} verify required alpn h2,http/1.1\n \
             http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str \"Bearer right\" }}\n \
             server collector {to}\n",
            server.display(),
            tls::authority_file(directory).display(),
        );
    }
    let file = directory.join("guard.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    (Program::start(command, &directory.join("guard.log")), ports.map(|port| format!("https://localhost:{port}")))
}

#[test]
fn over_tls_with_certificates_and_headers_and_what_cannot_be_sent_is_counted() {
    let cluster = Cluster::up(&serde_yaml_ng::from_str::<ClusterSpec>(FAILING).unwrap()).unwrap();
    let directory = &cluster.instance.directory();
    let (grpc, http) = (format!("127.0.0.1:{}", port()), format!("127.0.0.1:{}", port()));
    let (_collector, _) = collector(&cluster, &grpc, &http);
    let (_guard, endpoints) = guard(directory, (&grpc, &http));
    let authority = tls::authority_file(directory).display().to_string();
    let own = tls::write_certificate(directory, "agent", &["agent"]).unwrap().display().to_string();
    let right = "{authorization: Bearer right}";
    let trusted = [("TRACER_OTLP_CA_FILE", authority.as_str()), ("TRACER_GRACE", "1s"), ("TRACER_OTLP_QUEUE", "1")];
    let certified = [("TRACER_OTLP_CERT_FILE", own.as_str()), ("TRACER_OTLP_KEY_FILE", own.as_str())];
    for (protocol, endpoint) in ["grpc", "http"].into_iter().zip(&endpoints) {
        let receiver = [("TRACER_OTLP_ENDPOINT", endpoint.as_str()), ("TRACER_OTLP_PROTOCOL", protocol)];
        let start = |more: &[(&str, &str)]| Agent::start(&cluster, &[&receiver, &trusted[..], more].concat());
        let fail = |path: &str| assert_eq!(request(&cluster, &["--url", &format!("http://cart{path}")]), "500");

        let agent = start(&[certified[0], certified[1], ("TRACER_OTLP_HEADERS", right)]);
        fail("/a");
        sent(&agent);
        assert!(agent.terminate(), "{protocol}");

        let agent = start(&[certified[0], certified[1], ("TRACER_OTLP_HEADERS", "{authorization: Bearer wrong}")]);
        fail("/a");
        until("the token is refused", || items(&agent, "logs", "refused"));
        assert!(agent.diagnostics().contains("refused traces"), "{}", agent.diagnostics());
        assert!(agent.terminate(), "{protocol}");

        // Without a certificate: one is being tried, one waits, the others are lost.
        let agent = start(&[("TRACER_OTLP_HEADERS", right)]);
        ["/a", "/b", "/c", "/d"].into_iter().for_each(fail);
        until("it is tried again", || agent.metric(&["tracer_otlp_retries_total", "traces"]));
        until("what finds no room is counted", || items(&agent, "logs", "lost").filter(|lost| *lost >= 1.0));
        assert_eq!(items(&agent, "logs", "sent"), None);
        let said = agent.diagnostics();
        assert!(said.contains("doesn't take traces"), "{said}");
        assert!(agent.terminate(), "{protocol}");
    }
    // Nor is a receiver trusted that anyone else has certified.
    let stranger = [("TRACER_OTLP_ENDPOINT", endpoints[0].as_str()), ("TRACER_OTLP_CA_FILE", own.as_str())];
    let agent = Agent::start(&cluster, &[&stranger[..], &[("TRACER_GRACE", "1s")]].concat());
    assert_eq!(request(&cluster, &["--url", "http://cart/a"]), "500");
    until("it is said", || agent.diagnostics().contains("UnknownIssuer").then_some(()));
    assert!(agent.terminate());
}
