//! The watch of the cluster's state against the test API server, with everything that may befall it. Needs no root.

use std::time::Duration;

use serde_json::{Value, json};
use tracer::event::{Event, WatchState};
use tracer::k8s::Snapshot;
use tracer::k8s::snapshot::Collection;
use tracer::k8s::watch::{KINDS, Source, Watch};
use tracer_tests::apiserver::ApiServer;

/// Nothing takes this long that comes at all.
const LONGEST: Duration = Duration::from_secs(40);

fn pod(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"), "labels": {"app": "cart"},
            "managedFields": [{"manager": "kubelet"}], "annotations": {"note": "x".repeat(100)},
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "env": [{"name": "SECRET", "value": "s"}]}]},
        "status": {"phase": "Running", "podIP": address, "hostIP": "192.168.0.1"},
    })
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The tracer's side.
struct Client {
    watch: Watch,
    snapshot: Snapshot,
    states: Vec<(String, WatchState)>,
    now: u64,
    _directory: tempfile::TempDir,
}

impl Client {
    async fn start(server: &ApiServer) -> Self {
        Self::start_on(server, None).await
    }

    /// With a node: only its pods.
    async fn start_on(server: &ApiServer, node: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("kubeconfig");
        server.write_kubeconfig(&file).expect("a kubeconfig");
        let mut watch = Watch::start(Source::Kubeconfig(file), node).await.expect("a watch");
        let (snapshot, events) = watch.first(LONGEST).await;
        let mut client = Self { watch, snapshot, states: vec![], now: 0, _directory: directory };
        client.note(events);
        client
    }

    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Cluster { changes } => {
                    self.now += 1;
                    changes.into_iter().for_each(|change| self.snapshot.apply(self.now, change));
                }
                Event::Watch { resource, state } => self.states.push((resource, state)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes in what comes until it is so.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let all = async {
            while !done(self) {
                self.watch.ready().await;
                let events = self.watch.take(&self.snapshot);
                self.note(events);
            }
        };
        if tokio::time::timeout(LONGEST, all).await.is_err() {
            panic!("not {what} in time; states: {:?}", self.states);
        }
    }

    fn has_pod(&self, name: &str) -> bool {
        self.snapshot.pod("shop", name).is_some()
    }

    fn last_state(&self, resource: &str) -> Option<&WatchState> {
        self.states.iter().rev().find(|(of, _)| of == resource).map(|(_, state)| state)
    }

    fn is_current(&self, resource: &str) -> bool {
        self.last_state(resource) == Some(&WatchState::Current)
    }
}

fn watches(server: &ApiServer) -> usize {
    server.requests().iter().filter(|request| request.contains("/pods?") && request.contains("watch=true")).count()
}

fn lists(server: &ApiServer) -> usize {
    server.requests().iter().filter(|request| request.contains("/pods?") && !request.contains("watch=true")).count()
}

#[tokio::test]
async fn lists_in_pages_and_keeps_only_what_is_used() {
    let pods = (0..250).map(|n| pod(&format!("cart-{n}"), &format!("10.1.0.{n}")));
    let server = ApiServer::start(pods.chain([namespace("shop")])).unwrap();
    let client = Client::start(&server).await;
    assert_eq!(client.snapshot.count(Collection::Pods), 250);
    assert_eq!(lists(&server), 3, "{:?}", server.requests());
    let kept = serde_json::to_string(&client.snapshot).unwrap();
    for word in ["managedFields", "SECRET", "xxxx", "resourceVersion"] {
        assert!(!kept.contains(word), "{word} is kept");
    }
}

#[tokio::test]
async fn follows_changes_and_knows_how_it_was() {
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    let mut client = Client::start(&server).await;
    server.delete("v1/pods", "shop", "a").unwrap();
    client.until("deleted", |client| !client.has_pod("a")).await;
    let gone = client.now;
    server.put(pod("b", "10.1.0.1")).unwrap();
    client.until("added", |client| client.has_pod("b")).await;
    client.snapshot.as_of(gone - 1);
    assert!(client.has_pod("a") && !client.has_pod("b"));
}

#[tokio::test]
async fn a_server_that_restarts_is_resumed_where_it_was_left() {
    let mut server = ApiServer::start([pod("a", "10.1.0.1"), pod("b", "10.1.0.2")]).unwrap();
    let mut client = Client::start(&server).await;
    client.until("current", |client| client.is_current("pods")).await;
    server.stop();
    client.until("stale", |client| matches!(client.last_state("pods"), Some(WatchState::Stale { .. }))).await;
    assert!(client.has_pod("a"), "the last state stays");
    server.delete("v1/pods", "shop", "a").unwrap();
    server.put(pod("c", "10.1.0.3")).unwrap();
    let lists_before = lists(&server);
    server.resume().unwrap();
    client.until("current again", |client| client.is_current("pods") && client.has_pod("c")).await;
    assert!(!client.has_pod("a"));
    assert_eq!(lists(&server), lists_before, "it was listed anew");
}

#[tokio::test]
async fn a_version_that_is_gone_is_listed_anew_and_what_vanished_meanwhile_is_removed() {
    let mut server = ApiServer::start([pod("a", "10.1.0.1"), pod("b", "10.1.0.2")]).unwrap();
    let mut client = Client::start(&server).await;
    client.until("current", |client| client.is_current("pods")).await;
    server.stop();
    server.delete("v1/pods", "shop", "a").unwrap();
    server.put(pod("c", "10.1.0.3")).unwrap();
    server.compact();
    server.resume().unwrap();
    client.until("listed anew", |client| client.has_pod("c") && !client.has_pod("a")).await;
    assert!(client.has_pod("b") && lists(&server) >= 2);
}

#[tokio::test]
async fn what_is_forbidden_or_absent_costs_only_itself() {
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| faults.forbidden = ["events".to_owned()].into());
    let client = Client::start(&server).await;
    assert!(client.has_pod("a"));
    assert_eq!(client.last_state("events"), Some(&WatchState::Forbidden));
    assert_eq!(client.last_state("httproutes.gateway.networking.k8s.io"), Some(&WatchState::Absent));
}

#[tokio::test]
async fn a_new_token_in_the_kubeconfig_is_taken_up() {
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| faults.token = Some("one".to_owned()));
    let mut client = Client::start(&server).await;
    client.until("current", |client| client.is_current("pods")).await;
    server.set(|faults| faults.token = Some("two".to_owned()));
    server.disconnect();
    client.until("refused", |client| matches!(client.last_state("pods"), Some(WatchState::Stale { .. }))).await;
    server.write_kubeconfig(&client._directory.path().join("kubeconfig")).unwrap();
    server.put(pod("b", "10.1.0.2")).unwrap();
    client.until("current with the new token", |client| client.is_current("pods") && client.has_pod("b")).await;
}

#[tokio::test]
async fn a_busy_server_is_asked_again_later() {
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| (faults.status, faults.retry_after) = (Some(429), Some(1)));
    let mut client = Client::start(&server).await;
    assert!(!client.has_pod("a"));
    // Every kind once or twice, not in a loop.
    assert!(server.requests().len() <= 4 * KINDS.len(), "{} requests", server.requests().len());
    server.set(|faults| (faults.status, faults.retry_after) = (None, None));
    client.until("listed", |client| client.has_pod("a")).await;
}

#[tokio::test]
async fn streams_that_break_and_crawl_lose_nothing() {
    let server = ApiServer::start([namespace("shop")]).unwrap();
    server.set(|faults| (faults.break_after, faults.slow) = (Some(3), Some(Duration::from_millis(5))));
    let mut client = Client::start(&server).await;
    for n in 0..12 {
        server.put(pod(&format!("cart-{n}"), &format!("10.1.0.{n}"))).unwrap();
    }
    client.until("complete", |client| client.snapshot.count(Collection::Pods) == 12).await;
    assert!(watches(&server) >= 4 && lists(&server) == 1, "{:?}", server.requests());
}

#[tokio::test]
async fn pods_of_other_nodes_are_asked_for_by_address() {
    let mut other = pod("far", "10.2.0.1");
    other["spec"]["nodeName"] = "n2".into();
    let server = ApiServer::start([pod("near", "10.1.0.1"), other]).unwrap();
    let mut client = Client::start_on(&server, Some("n1")).await;
    client.until("current", |client| client.last_state("pods") == Some(&WatchState::OfNode)).await;
    assert!(client.has_pod("near") && !client.has_pod("far"));
    client.watch.ask_for("10.9.9.9".parse().unwrap());
    client.watch.ask_for("10.2.0.1".parse().unwrap());
    client.until("asked for", |client| client.has_pod("far")).await;
}
