use serde_json::json;

use super::*;

fn item(trace_id: Option<&str>) -> Item {
    let mut incident: Incident = serde_json::from_value(json!({
        "id": "2c9cbc8c2d1b0356", "first_seen": "2026-03-01T14:03:37.631Z", "last_seen": "2026-03-01T14:03:38.635Z",
        "count": 4, "node": "worker-1",
        "symptom": {"kind": "http-5xx", "status": 504, "method": "GET", "path": "/pay", "trace_id": trace_id},
        "path": [
            {"namespace": "shop", "pod": "frontend-6c9-537", "workload": "Deployment/frontend", "container": "app",
             "service": "shop/frontend", "address": "10.1.0.5:8080", "outcome": "504", "link": "root",
             "key": "10.1.0.9:40000#000004d2"},
            {"namespace": "shop", "pod": "payment-055-a2b", "workload": "Deployment/payment", "service": "shop/payment",
             "address": "10.96.0.15:80", "outcome": "connect timed out", "link": "thread"}],
        "cause": {"id": "network-policy-drop", "confidence": 0.97, "summary": "a policy isolates payment",
                  "origin": {"namespace": "shop", "pod": "payment-055-a2b", "workload": "Deployment/payment"}},
        "evidence": [], "next": ["kubectl -n shop edit networkpolicy a"],
        "coverage": {"lost_events": 0, "opaque_tls_processes": 0, "notes": []}
    }))
    .unwrap();
    incident.path[0].times = Some((1_000, 5_000));
    incident.path[0].request = Some(("GET".to_owned(), "/pay".to_owned()));
    incident.path[1].times = Some((2_000, 4_000));
    Item { incident, wall_offset_ns: 1_700_000_000_000_000_000, again: false }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<(Vec<KeyValue>, Span)> {
    let mut found = Vec::new();
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.unwrap().attributes;
        let spans = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        found.extend(spans.map(|span| (resource.clone(), span)));
    }
    found
}

fn has(attributes: &[KeyValue], key: &str, value: &str) -> bool {
    attributes.contains(&attributes::string(key, value))
}

#[test]
fn one_trace_with_a_span_for_each_hop() {
    let spans = spans(traces(&[item(Some("0af7651916cd43dd8448eb211c80319c"))]));
    let [(outer_of, outer), (inner_of, inner)] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(outer.trace_id[..2], [0x0a, 0xf7]);
    assert_eq!(outer.trace_id, inner.trace_id);
    assert_eq!((outer.parent_span_id.len(), &inner.parent_span_id), (0, &outer.span_id));
    assert_eq!((outer.kind(), inner.kind()), (SpanKind::Server, SpanKind::Client));
    assert_eq!((outer.name.as_str(), inner.name.as_str()), ("GET", "connect timed out"));
    assert_eq!(outer.start_time_unix_nano, 1_700_000_000_000_001_000);
    assert_eq!(inner.end_time_unix_nano, 1_700_000_000_000_004_000);
    assert!(has(outer_of, "k8s.deployment.name", "frontend") && has(outer_of, "k8s.node.name", "worker-1"));
    // The call is the caller's.
    assert!(has(inner_of, "k8s.pod.name", "frontend-6c9-537"));
    assert!(
        has(&inner.attributes, "error.type", "timeout") && has(&inner.attributes, "server.address", "payment.shop")
    );
    assert!(has(&inner.attributes, "tracer.cause", "network-policy-drop"));
    assert!(has(&outer.attributes, "url.path", "/pay") && has(&outer.attributes, "error.type", "504"));
    assert_eq!(inner.status.as_ref().unwrap().message, "a policy isolates payment");
}

#[test]
fn a_span_says_what_its_own_hop_was_asked_and_how() {
    let mut item = item(None);
    let [outer, inner] = &mut item.incident.path[..] else { panic!() };
    let mut lookup = inner.clone();
    (inner.request, inner.outcome) = (Some(("POST".to_owned(), "/total".to_owned())), Some("no answer".to_owned()));
    inner.silence = Some("connection_reset");
    (outer.request, outer.outcome) = (Some(("GET".to_owned(), "/checkout".to_owned())), Some("500".to_owned()));
    (lookup.address, lookup.outcome) = (Some("10.96.0.10:53".to_owned()), Some("DNS timeout".to_owned()));
    lookup.udp = true;
    item.incident.path.push(lookup);
    let spans = spans(traces(&[item]));
    let told = |key: &str| {
        let of = |span: &Span| span.attributes.iter().find(|told| told.key == key)?.value.clone();
        spans.iter().map(|(_, span)| of(span)).collect::<Vec<_>>()
    };
    let texts = |texts: [Option<&str>; 3]| texts.map(|told| told.and_then(text));
    assert_eq!(told("http.request.method"), texts([Some("GET"), Some("POST"), None]));
    assert_eq!(told("url.path"), texts([Some("/checkout"), Some("/total"), None]));
    assert_eq!(told("network.transport"), texts([Some("tcp"), Some("tcp"), Some("udp")]));
    assert_eq!(told("error.type"), texts([Some("500"), Some("connection_reset"), Some("timeout")]));
    let names: Vec<_> = spans.iter().map(|(_, span)| span.name.as_str()).collect();
    assert_eq!(names, ["GET", "POST", "DNS timeout"]);
}

#[test]
fn every_failure_has_an_error_type() {
    for (outcome, error) in [
        ("reset", "connection_reset"),
        ("no answer", "no_response"),
        ("connect refused", "connection_refused"),
        ("connect timed out", "timeout"),
        ("connect failed", "unreachable"),
        ("no local port", "no_source_port"),
        ("DNS timeout", "timeout"),
        ("TLS handshake failed", "tls_handshake_failed"),
    ] {
        let hop = Hop { outcome: Some(outcome.to_owned()), ..Hop::default() };
        assert!(has(&hop_attributes(&hop, Role::Client), "error.type", error), "{outcome}");
    }
    let answered = |status: &str, end| hop_attributes(&Hop { outcome: Some(status.to_owned()), ..Hop::default() }, end);
    assert!(has(&answered("404", Role::Client), "error.type", "404"));
    assert!(has(&answered("777", Role::Server), "error.type", "_OTHER"));
    assert!(!answered("404", Role::Server).iter().any(|told| told.key == "error.type"));
}

#[test]
fn without_an_id_of_its_own_every_node_makes_the_same() {
    let here = item(None);
    let mut there = item(None);
    there.incident.id = "another".to_owned();
    there.incident.first_seen = "2026-03-01T14:03:37.632Z".to_owned();
    let id = |item: &Item| spans(traces(std::slice::from_ref(item)))[0].1.trace_id.clone();
    assert_eq!(id(&here), id(&there));
}

#[test]
fn two_nodes_tell_a_hop_by_spans_of_their_own_and_the_caller_links_the_servers() {
    let id = "0af7651916cd43dd8448eb211c80319c";
    for trace_id in [None, Some(id)] {
        let (mut caller, mut server) = (item(trace_id), item(trace_id));
        let hop = &mut caller.incident.path[1];
        (hop.key, hop.outcome, hop.elsewhere) =
            (Some("10.1.0.5:41000#00000007".to_owned()), Some("500".to_owned()), true);
        server.incident.node = Some("worker-2".to_owned());
        server.incident.path = vec![Hop { elsewhere: false, ..hop.clone() }, Hop::default()];
        caller.incident.path.push(Hop::default());
        let (caller, server) = (spans(traces(&[caller])), spans(traces(&[server])));
        let [outer, inner, _] = &caller[..] else { panic!("{caller:?}") };
        assert!(caller.iter().all(|(_, ours)| server.iter().all(|(_, theirs)| ours.span_id != theirs.span_id)));
        assert_eq!((inner.1.kind(), server[0].1.kind()), (SpanKind::Client, SpanKind::Server));
        assert_eq!(inner.1.trace_id == server[0].1.trace_id, trace_id.is_some());
        let link = |to: &Span| Link { trace_id: to.trace_id.clone(), span_id: to.span_id.clone(), ..Link::default() };
        let expected = if trace_id.is_none() { vec![link(&server[0].1)] } else { vec![] };
        assert_eq!((&outer.1.links, &inner.1.links), (&vec![], &expected));
    }
}

#[test]
fn a_record_for_each_and_no_second_trace() {
    let again = Item { again: true, ..item(None) };
    assert!(traces(std::slice::from_ref(&again)).resource_spans.is_empty());
    let logs = logs(&[again]);
    let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.body, text("a policy isolates payment"));
    assert_eq!(record.time_unix_nano, 1_772_373_818_635_000_000);
    assert_eq!(record.trace_id.len(), 16);
}
