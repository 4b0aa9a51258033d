//! Recorded captures through the pure core: what it said when they were recorded it must say again, without a kernel.

use std::path::PathBuf;

use tracer::{
    correlate::Correlator,
    event::{Drop, Event, Outcome, Record, record},
    verdict::{Incident, Origin},
};

/// The incidents of a capture, the last state of each.
fn replay(name: &str) -> Vec<Incident> {
    replay_with(name, |_| None)
}

/// The same, with what `before` puts before a record.
fn replay_with(name: &str, mut before: impl FnMut(&Record) -> Option<Event>) -> Vec<Incident> {
    replay_edited(name, |record| {
        let event = before(&record);
        event.map(|event| Record { at: record.at, event }).into_iter().chain([record]).collect()
    })
}

/// The same, with what `edit` makes of each record.
fn replay_edited(name: &str, mut edit: impl FnMut(Record) -> Vec<Record>) -> Vec<Incident> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/corpus/{name}.ndjson"));
    let mut reader = record::open(&path).expect("the capture can be read");
    let mut core = Correlator::new(reader.header.options.clone(), reader.snapshot.clone());
    let (mut out, mut at) = (Vec::new(), 0);
    for record in reader.by_ref() {
        let record = record.expect("each line is a record");
        at = record.at;
        edit(record).into_iter().for_each(|record| core.push(record, &mut out));
    }
    core.finish(at, &mut out);
    let mut last: Vec<Incident> = Vec::new();
    for incident in out {
        match last.iter_mut().find(|known| known.id == incident.id) {
            Some(known) => *known = incident,
            None => last.push(incident),
        }
    }
    last
}

/// One line an incident: what it blames, and on what grounds.
fn summary(name: &str) -> String {
    let line = |incident: Incident| {
        let origin = incident.cause.origin.unwrap_or_default();
        let origin = [origin.namespace, origin.workload, origin.service, origin.name].into_iter().flatten();
        let hops = incident.path.into_iter().map(|hop| {
            let who = hop.workload.or(hop.service).or(hop.name).or(hop.address).unwrap_or_default();
            format!("{who}({})", hop.outcome.unwrap_or_default())
        });
        let evidence: Vec<String> =
            incident.evidence.into_iter().map(|e| format!("  {}: {}", e.kind, e.text)).collect();
        format!(
            "{} x{} {:?} {:?} at {}\n  {}\n  {}\n{}",
            incident.cause.id,
            incident.count,
            incident.symptom.kind,
            incident.symptom.status,
            origin.collect::<Vec<_>>().join(" "),
            incident.cause.summary,
            hops.collect::<Vec<_>>().join(" > "),
            evidence.join("\n"),
        )
    };
    replay(name).into_iter().map(line).collect::<Vec<_>>().join("\n\n")
}

macro_rules! replays {
    ($($test:ident $name:literal,)*) => {
        $(#[test]
        fn $test() {
            insta::assert_snapshot!(summary($name));
        })*

        #[test]
        fn every_capture_is_replayed() {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .expect("the corpus is there")
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".ndjson").map(str::to_owned))
                .collect();
            found.sort();
            let mut listed = vec![$($name.to_owned()),*];
            listed.sort();
            assert_eq!(found, listed);
        }
    };
}

replays! {
    app_crash_exit "app-crash-exit",
    app_error_deep "app-error-deep",
    connection_reset "connection-reset",
    conntrack_full "conntrack-full",
    conntrack_race "conntrack-race",
    control_hang_up "control-hang-up",
    control_retry "control-retry",
    dns_timeout "dns-timeout",
    network_policy_drop_egress "network-policy-drop-egress",
    no_listener_job "no-listener-job",
    oom_killed "oom-killed",
    selector_mismatch "selector-mismatch",
    upstream_timeout_nginx "upstream-timeout-nginx",
    wrong_target_port "wrong-target-port",
}

/// Replays with a failure lost at the first record, or as soon as an exchange was told; gives cause and what is said.
fn with_a_loss(name: &str, early: bool) -> Vec<(String, Vec<String>)> {
    let mut exchanges = 0;
    let incidents = replay_with(name, |record| {
        exchanges += u32::from(matches!(record.event, Event::Exchange(_)));
        let now = if early { matches!(record.event, Event::Tick) && exchanges == 0 } else { exchanges == 1 };
        now.then(|| Event::Lost { totals: vec![("failures".to_owned(), 1)] })
    });
    let told =
        |i: Incident| (i.cause.id, i.evidence.into_iter().filter(|e| e.kind == "coverage").map(|e| e.text).collect());
    incidents.into_iter().map(told).collect()
}

/// As kernels before 6.10 tell of a closed port: by the drop of what the reset answers; before 5.17 without a reason.
fn on_an_older_kernel(name: &str, reason: Option<&str>) -> Vec<(String, Option<Origin>)> {
    let edit = |mut record: Record| {
        if let Event::Signal(sent) = &record.event
            && sent.no_socket
        {
            record.event = Event::Drop(Drop {
                source: sent.remote,
                destination: sent.local,
                original_destination: None,
                protocol: sent.protocol,
                tcp_flags: 2,
                reason: reason.map(str::to_owned),
                location: Some("tcp_v4_rcv".to_owned()),
                hook: None,
                mechanism: Some("socket".to_owned()),
                netns: sent.netns,
                device: Some("eth0".to_owned()),
                cgroup: 0,
                tgid: 0,
            });
        }
        vec![record]
    };
    replay_edited(name, edit).into_iter().map(|incident| (incident.cause.id, incident.cause.origin)).collect()
}

#[test]
fn closed_ports_on_older_kernels() {
    for name in ["wrong-target-port", "no-listener-job"] {
        let newest: Vec<_> =
            replay(name).into_iter().map(|incident| (incident.cause.id, incident.cause.origin)).collect();
        assert!(name.starts_with(&newest[0].0), "{newest:?}");
        for reason in [Some("NO_SOCKET"), None] {
            assert_eq!(on_an_older_kernel(name, reason), newest, "{reason:?}");
        }
    }
}

#[test]
fn what_rests_on_absence_is_unknown_with_events_lost() {
    for name in ["app-error-deep", "dns-timeout", "upstream-timeout-nginx"] {
        let (cause, said) = with_a_loss(name, false).remove(0);
        assert_eq!(cause, "unknown", "{name}");
        assert!(said[0].contains("rests on what wasn't seen"), "{name}: {said:?}");
    }
    let (cause, said) = with_a_loss("network-policy-drop-egress", false).remove(0);
    assert_eq!((cause.as_str(), said.len()), ("network-policy-drop", 1));
}

#[test]
fn what_was_lost_before_the_request_is_no_matter() {
    for name in ["app-error-deep", "dns-timeout", "upstream-timeout-nginx"] {
        for (cause, said) in with_a_loss(name, true) {
            assert!(cause != "unknown" && said.is_empty(), "{name}: {cause} {said:?}");
        }
    }
}

#[test]
fn lookups_leave_room_for_looks_at_the_node() {
    let (mut lookup, mut repeated) = (None, 0);
    let incidents = replay_edited("app-error-deep", |record| {
        match &record.event {
            Event::Dns(dns) if dns.rcode == Some(3) => lookup = Some(record.event.clone()),
            Event::Exchange(it) if matches!(it.outcome, Outcome::Status(500..)) => {
                repeated += 1;
                let again = lookup.iter().cycle().take(300).cloned();
                return again.map(|event| Record { at: record.at, event }).chain([record.clone()]).collect();
            }
            _ => {}
        }
        vec![record]
    });
    let causes = |incidents: Vec<Incident>| incidents.into_iter().map(|it| (it.cause.id, it.coverage.notes));
    assert!(repeated > 0 && lookup.is_some());
    assert!(causes(incidents).eq(causes(replay("app-error-deep"))));
}

/// A lost race isn't why a lookup failed that was asked again and answered.
#[test]
fn what_was_answered_in_the_end_was_not_dropped() {
    let causes = |name: &str| -> Vec<_> {
        let answered = replay_edited(name, |mut record| {
            if let Event::Dns(dns) = &mut record.event {
                dns.rcode = Some(3);
            }
            vec![record]
        });
        answered.into_iter().map(|incident| incident.cause.id).collect()
    };
    assert_eq!(causes("conntrack-race"), ["dns-nxdomain"]);
}

#[test]
fn controls_yield_nothing() {
    for name in ["control-hang-up", "control-retry"] {
        assert_eq!(replay(name), [], "{name}");
    }
}

/// Pools connect for one request and give the connection to another, which may have come later.
#[test]
fn a_call_is_made_when_it_is_sent() {
    let chains = |edit: fn(Record) -> Record| -> Vec<_> {
        let found = replay_edited("app-error-deep", |record| vec![edit(record)]);
        found.into_iter().map(|incident| (incident.cause.id, incident.path.len(), incident.count)).collect()
    };
    let earlier = chains(|mut record| {
        if let Event::Exchange(exchange) = &mut record.event
            && exchange.first
        {
            exchange.conn.born_ns -= 1_000_000_000;
        }
        record
    });
    assert_eq!(earlier, chains(|record| record));
    assert!(!earlier.is_empty());
}
