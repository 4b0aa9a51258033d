//! The JSON lines and their published schema are one thing.

use serde_json::{Value, json};
use tracer::event::Record;
use tracer::sink::json::Json;
use tracer::sink::line::{Latency, SkippedHook, WorkloadSummary};
use tracer::sink::{CoverageLine, Ready, Sink, Summary, line};
use tracer::verdict::Incident;

#[test]
fn the_schema_that_is_checked_in_is_the_generated_one() {
    assert_eq!(
        crate::support::schema(),
        line::schema(),
        "regenerate it: cargo run -p tracer -- schema > docs/schema/tracer-v1.json"
    );
}

fn printed(print: impl FnOnce(&mut Json<&mut Vec<u8>>)) -> Vec<Value> {
    let mut out = Vec::new();
    print(&mut Json::new(&mut out));
    crate::support::lines(&String::from_utf8(out).unwrap())
}

fn incident() -> Incident {
    serde_json::from_value(json!({
        "id": "1", "first_seen": "2026-03-01T14:03:11.204Z", "last_seen": "2026-03-01T14:03:11.204Z", "count": 1,
        "symptom": {"kind": "http-5xx", "status": 500, "method": "GET", "path": "/checkout"},
        "path": [{"namespace": "shop", "pod": "cart-0", "outcome": "500", "duration_ms": 1.5, "link": "root"}],
        "cause": {"id": "app-error", "confidence": 0.9, "summary": "it answered 500 by itself",
                  "origin": {"namespace": "shop", "pod": "cart-0"}},
        "evidence": [{"kind": "drop", "text": "a SYN was dropped", "reason": "NETFILTER_DROP", "count": 3}],
        "next": ["kubectl -n shop logs cart-0"],
        "coverage": {"lost_events": 0, "opaque_tls_processes": 0, "notes": []}
    }))
    .unwrap()
}

#[test]
fn every_kind_of_line_is_as_the_schema_says() {
    let records: Vec<Record> = [
        json!({"at": 1, "event": "cgroup", "id": 7, "path": "/kubepods"}),
        json!({"at": 2, "event": "lost", "totals": [["events", 3]]}),
        json!({"at": 3, "event": "host", "fact": "listeners", "netns": 4026531833_u32, "ports": [80]}),
        json!({"at": 4, "event": "icmp", "source": "10.0.0.1:1", "destination": "10.0.0.2:2", "protocol": 6,
               "icmp_type": 3, "icmp_code": 1, "ipv6": false, "netns": 1}),
    ]
    .map(|record| serde_json::from_value(record).unwrap())
    .into();
    let workload = WorkloadSummary {
        namespace: Some("shop".to_owned()),
        workload: Some("Deployment/cart".to_owned()),
        role: "server",
        requests: 2,
        errors: 1,
        status: [("2xx".to_owned(), 1), ("5xx".to_owned(), 1)].into(),
        latency_ms: Some(Latency { p50: 1.0, p90: 2.0, p99: 3.0 }),
        ..WorkloadSummary::default()
    };
    let ready = Ready {
        skipped: vec![SkippedHook { hook: "icmp_send".to_owned(), reason: "not there".to_owned() }],
        hooks: vec!["egress".to_owned()],
        ..Ready::default()
    };
    let lines = printed(|sink| {
        sink.ready(&ready).unwrap();
        sink.incident(&incident()).unwrap();
        records.iter().for_each(|record| sink.event("2026-03-01T14:03:11.204Z", record).unwrap());
        sink.summary(&Summary { workloads: vec![workload], requests: Some(2), ..Summary::default() }).unwrap();
        sink.coverage(&CoverageLine::default()).unwrap();
    });
    assert_eq!(lines.len(), 4 + records.len());
    assert!(lines.iter().all(|line| line["schema"] == "tracer/v1"));
    crate::support::validate(&lines);
}

#[test]
fn the_schema_refuses_what_is_something_else() {
    let schema = crate::support::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let [mut line] = <[Value; 1]>::try_from(printed(|sink| sink.incident(&incident()).unwrap())).unwrap();
    assert!(validator.is_valid(&line));
    for (pointer, wrong) in [
        ("/type", json!("mystery")),
        ("/schema", json!("tracer/v0")),
        ("/count", json!("many")),
        ("/symptom/kind", json!("http-4xx")),
        ("/cause/confidence", json!(null)),
    ] {
        let right = std::mem::replace(line.pointer_mut(pointer).unwrap(), wrong);
        assert!(!validator.is_valid(&line), "{pointer}");
        *line.pointer_mut(pointer).unwrap() = right;
    }
}
