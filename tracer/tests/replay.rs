//! Recorded captures through the pure core: what it said when they were recorded it must say again, without a kernel.

use std::path::PathBuf;

use serde_json::{Value, json};
use tracer::{
    correlate::Correlator,
    event::{Conntrack, Drop, Event, Exchange, HostFact, Outcome, Process, Record, Role, record},
    k8s::{
        model::Object,
        snapshot::{Change, Collection, ObjectRef},
    },
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

/// `conntrack-full` where the table was read so, or not at all.
fn conntrack_read_as(table: Option<Conntrack>) -> (String, f64) {
    let found = replay_edited("conntrack-full", |record| match record.event {
        Event::Host(HostFact::Conntrack { netns, .. }) => {
            let fact = table.map(|table| Event::Host(HostFact::Conntrack { netns, table }));
            fact.into_iter().map(|event| Record { at: record.at, event }).collect()
        }
        _ => vec![record],
    });
    let [incident] = &found[..] else { panic!("{found:?}") };
    (incident.cause.id.clone(), incident.cause.confidence)
}

#[test]
fn a_firewall_is_sure_only_where_the_connection_table_is_known() {
    let table = |count, max| Some(Conntrack { count, max, insert_failed: 0 });
    assert_eq!(conntrack_read_as(table(1000, 1000)).0, "conntrack-full");
    assert_eq!(conntrack_read_as(table(10, 1000)), ("firewall-drop".to_owned(), 0.91));
    assert_eq!(conntrack_read_as(table(0, 0)), ("firewall-drop".to_owned(), 0.91), "not loaded");
    assert_eq!(conntrack_read_as(None), ("firewall-drop".to_owned(), 0.67));
}

/// Replays with a process of a pod that the OOM killer took 40 s before the first record, and with a pod put into the
/// cluster; gives causes and blamed workloads.
fn with_a_victim(name: &str, pod_uid: &str, pod: Option<Value>) -> Vec<(String, Option<String>)> {
    let id = 1;
    let path = format!("/kubepods/pod{pod_uid}/{id:064}");
    let process = Process {
        cgroup: id,
        tgid: 1,
        comm: "exporter".to_owned(),
        oom_victim: true,
        signal: None,
        exit_code: None,
        served: false,
    };
    let changes = pod.into_iter().map(|pod| Change::Put(Object::from_value(pod).expect("a pod"))).collect();
    let mut events = vec![Event::Cluster { changes }, Event::Cgroup { id, path }, Event::Process(process)];
    let incidents = replay_edited(name, |record| {
        let at = record.at - 40_000_000_000;
        events.drain(..).map(|event| Record { at, event }).chain([record]).collect()
    });
    incidents.into_iter().map(|it| (it.cause.id, it.cause.origin.and_then(|origin| origin.workload))).collect()
}

#[test]
fn an_oom_kill_explains_a_refusal_and_no_drop() {
    let found = |cause: &str, workload: &str| vec![(cause.to_owned(), Some(workload.to_owned()))];
    let dropped = with_a_victim("network-policy-drop-egress", "bb744996-31bd-4dc7-8b38-7e860a53e086", None);
    assert_eq!(dropped, found("network-policy-drop", "Deployment/cart"));
    let redis = "e21c146a-4235-4679-8e70-81a19ab9e1a9";
    assert_eq!(with_a_victim("no-listener-job", redis, None), found("oom-killed", "StatefulSet/redis"));
    // Of the container that declares the port, not of one beside it.
    for (victim, cause) in [("redis", "oom-killed"), ("exporter", "no-listener")] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "redis-0", "uid": redis, "labels": {"app": "redis"}},
            "spec": {"containers": [{"name": "redis", "ports": [{"containerPort": 6379}]}, {"name": "exporter"}]},
            "status": {
                "phase": "Running", "podIP": "10.1.0.4", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": victim, "containerID": format!("containerd://{:064}", 1)}]
            }
        });
        assert_eq!(with_a_victim("no-listener-job", redis, Some(pod)), found(cause, "Pod/redis-0"));
    }
}

/// Replays with a process of the slow server that ends when its client still waits, or has just left; gives causes.
fn with_an_end(left: bool, end: impl Fn(&mut Exchange) -> Process) -> Vec<String> {
    let mut ended = false;
    let incidents = replay_edited("upstream-timeout-nginx", |mut record| {
        let mut also = None;
        if let Event::Exchange(exchange) = &mut record.event
            && exchange.role == Role::Server
            && exchange.local.port() == 8080
        {
            let process = end(exchange);
            also = (exchange.remote_closed_first == left && !ended).then_some(process);
            ended |= also.is_some();
        }
        let also = also.map(|process| Record { at: record.at, event: Event::Process(process) });
        [record].into_iter().chain(also).collect()
    });
    assert!(ended);
    incidents.into_iter().map(|incident| incident.cause.id).collect()
}

#[test]
fn who_ends_beside_a_slow_request_or_after_it_is_no_crash() {
    let process = |cgroup, tgid, signal, exit_code| {
        let comm = "worker".to_owned();
        Process { cgroup, tgid, comm, oom_victim: false, signal, exit_code, served: true }
    };
    // Nobody is known to have read the request.
    let recycled = with_an_end(false, |exchange| {
        (exchange.actor, exchange.read_ns) = (None, None);
        process(exchange.cgroup, 1, None, Some(0))
    });
    assert_eq!(recycled, ["upstream-timeout"]);
    let reader = |exchange: &mut Exchange| {
        process(exchange.cgroup, exchange.actor.map_or(0, |actor| actor.tgid), Some(13), None)
    };
    assert_eq!(with_an_end(true, reader), ["upstream-timeout"], "it wrote to a client that had left");
    assert_eq!(with_an_end(false, reader)[0], "app-crash");
}

/// A web server may have the application inside: what calls nobody answers for itself.
#[test]
fn an_apache_that_was_never_seen_to_relay_is_an_application() {
    let replay = |name: &'static str| {
        let incidents = replay_edited("app-error-deep", |mut record| {
            match &mut record.event {
                Event::Host(HostFact::Process { comm, exe, .. }) => {
                    (*comm, *exe) = (name.to_owned(), Some(name.to_owned()));
                }
                Event::Exchange(exchange) => exchange.comm = name.to_owned(),
                _ => {}
            }
            vec![record]
        });
        incidents.into_iter().map(|incident| (incident.cause.id, incident.cause.origin)).collect::<Vec<_>>()
    };
    assert_eq!(replay("apache2"), replay("python3"));
    assert_eq!(replay("nginx")[0].0, "gateway-no-upstream");
}

/// Of several drops the filter's is told, with the place where that one happened.
#[test]
fn a_filters_drop_after_another_keeps_its_place() {
    let key = ["shop", "cart-egress", ""].map(str::to_owned);
    let policy = ObjectRef { collection: Collection::NetworkPolicies, key };
    let mut first = Some(Event::Cluster { changes: vec![Change::Remove(policy)] });
    let incidents = replay_edited("network-policy-drop-egress", |record| {
        let at = record.at;
        let before = match &record.event {
            // In the caller's network namespace.
            Event::Drop(drop) => Some(Event::Drop(Drop {
                reason: Some("IP_OUTNOROUTES".to_owned()),
                mechanism: Some("routing".to_owned()),
                hook: None,
                netns: 4_026_532_598,
                ..drop.clone()
            })),
            _ => first.take(),
        };
        before.map(|event| Record { at, event }).into_iter().chain([record]).collect()
    });
    let told: Vec<_> = incidents.into_iter().map(|it| (it.cause.id, it.cause.origin.unwrap_or_default())).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let (cause, origin) = &told[0];
    assert_eq!((cause.as_str(), &origin.pod, origin.node.as_deref()), ("firewall-drop", &None, Some("worker-1")));
}
