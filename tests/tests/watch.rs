//! The watch of the cluster's state against the test API server, with everything that may befall it. Needs no root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tracer::event::{Event, WatchState};
use tracer::k8s::Snapshot;
use tracer::k8s::snapshot::Collection;
use tracer::k8s::watch::{KINDS, Source, Watch};
use tracer_tests::apiserver::{ApiServer, Authority, Credentials};

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
    directory: tempfile::TempDir,
}

impl Client {
    async fn start(server: &ApiServer) -> Self {
        Self::start_on(server, None).await
    }

    /// With a node: only its pods.
    async fn start_on(server: &ApiServer, node: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        server.write_kubeconfig(&directory.path().join("kubeconfig")).expect("a kubeconfig");
        Self::start_in(directory, node).await
    }

    /// With these members of the kubeconfig's cluster and user.
    async fn start_with(server: &ApiServer, cluster: &Value, user: &Value) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        server.write_kubeconfig_as(&directory.path().join("kubeconfig"), cluster, user).expect("a kubeconfig");
        Self::start_in(directory, None).await
    }

    async fn start_in(directory: tempfile::TempDir, node: Option<&str>) -> Self {
        let file = directory.path().join("kubeconfig");
        let mut watch = Watch::start(Source::Kubeconfig(file), node).await.expect("a watch");
        let (snapshot, events) = watch.first(LONGEST).await;
        let mut client = Self { watch, snapshot, states: vec![], now: 0, directory };
        client.note(events);
        client
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
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

/// A file of that name.
fn written(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).expect("a file");
    file
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
    server.set(|faults| {
        faults.forbidden = ["events".to_owned()].into();
        faults.absent = ["endpointslices.discovery.k8s.io".to_owned()].into();
    });
    let client = Client::start(&server).await;
    assert!(client.has_pod("a"));
    assert_eq!(client.last_state("events"), Some(&WatchState::Forbidden));
    assert_eq!(client.last_state("endpointslices.discovery.k8s.io"), Some(&WatchState::Absent));
    assert_eq!(client.last_state("httproutes.gateway.networking.k8s.io"), None, "nobody has installed it");
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
    server.write_kubeconfig(&client.kubeconfig()).unwrap();
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

/// The cluster's part of a kubeconfig.
fn trusting(directory: &Path, authority: &Authority) -> Value {
    json!({"certificate-authority": written(directory, "authority.pem", &authority.certificate())})
}

#[tokio::test]
async fn the_servers_certificate_is_checked_and_may_be_replaced_with_its_authority() {
    let (first, second) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| faults.tls = Some(first.server(false).unwrap()));
    let directory = tempfile::tempdir().unwrap();
    let mut client = Client::start_with(&server, &trusting(directory.path(), &first), &json!({})).await;
    client.until("current", |client| client.is_current("pods")).await;
    // A certificate of the same authority is as good.
    server.set(|faults| faults.tls = Some(first.server(false).unwrap()));
    server.disconnect();
    server.put(pod("b", "10.1.0.2")).unwrap();
    client.until("followed", |client| client.has_pod("b")).await;
    server.set(|faults| faults.tls = Some(second.server(false).unwrap()));
    server.disconnect();
    let refused = |client: &Client| matches!(client.last_state("pods"), Some(WatchState::Stale { reason }) if reason.contains("certificate"));
    client.until("refused", refused).await;
    server.put(pod("c", "10.1.0.3")).unwrap();
    trusting(directory.path(), &second);
    client.until("current with the new authority", |client| client.is_current("pods") && client.has_pod("c")).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = Authority::new().unwrap();
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| faults.tls = Some(authority.server(true).unwrap()));
    let Credentials { certificate, key } = authority.client().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let user = json!({
        "client-certificate": written(directory.path(), "client.pem", &certificate),
        "client-key": written(directory.path(), "key.pem", &key),
    });
    let cluster = trusting(directory.path(), &authority);
    assert!(Client::start_with(&server, &cluster, &user).await.has_pod("a"));
    let nobody = Client::start_with(&server, &cluster, &json!({})).await;
    assert!(!nobody.has_pod("a"), "the server doesn't ask for certificates");
}

#[tokio::test]
async fn a_token_file_is_read_anew() {
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| faults.token = Some("one".to_owned()));
    let directory = tempfile::tempdir().unwrap();
    let file = written(directory.path(), "token", "one");
    let mut client = Client::start_with(&server, &json!({}), &json!({"tokenFile": file})).await;
    client.until("current", |client| client.is_current("pods")).await;
    std::fs::write(&file, "two").unwrap();
    server.set(|faults| faults.token = Some("two".to_owned()));
    server.disconnect();
    server.put(pod("b", "10.1.0.2")).unwrap();
    client.until("current with the new token", |client| client.has_pod("b")).await;
}

#[tokio::test]
async fn a_plugin_is_run_for_credentials_and_again_when_they_are_refused() {
    let server = ApiServer::start([pod("a", "10.1.0.1")]).unwrap();
    server.set(|faults| faults.token = Some("one".to_owned()));
    let directory = tempfile::tempdir().unwrap();
    let credential = |token: &str| json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}});
    let file = written(directory.path(), "credential", &credential("one").to_string());
    let plugin = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [file], "interactiveMode": "Never",
    });
    let mut client = Client::start_with(&server, &json!({}), &json!({"exec": plugin})).await;
    client.until("current", |client| client.is_current("pods")).await;
    std::fs::write(&file, credential("two").to_string()).unwrap();
    server.set(|faults| faults.token = Some("two".to_owned()));
    server.disconnect();
    server.put(pod("b", "10.1.0.2")).unwrap();
    client.until("current with new credentials", |client| client.has_pod("b")).await;
}

#[tokio::test]
async fn of_events_only_warnings_and_ends_by_a_probe_are_kept() {
    let event = |name: &str, kind: &str, reason: &str, message: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": name}, "type": kind,
            "reason": reason, "message": message, "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "a"},
        })
    };
    let mut server = ApiServer::start([
        event("failed", "Warning", "BackOff", "Back-off restarting failed container"),
        event("killed", "Normal", "Killing", "Container app failed liveness probe, will be restarted"),
        event("stopped", "Normal", "Killing", "Stopping container app"),
        event("pulled", "Normal", "Pulled", "Container image already present on machine"),
    ])
    .unwrap();
    let mut client = Client::start(&server).await;
    let kept = |client: &Client| {
        client.snapshot.events_of("Pod", "shop", "a").iter().map(|event| event.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(kept(&client), ["BackOff", "Killing"]);
    // Each list removes its own only.
    server.stop();
    server.delete("v1/events", "shop", "failed").unwrap();
    server.compact();
    server.resume().unwrap();
    client.until("listed anew", |client| kept(client) == ["Killing"]).await;
}
