//! The cluster proves itself by its own traffic, without the tracer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests")]

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tracer_tests::{
    cluster::{Cluster, ClusterSpec, instance::CgroupMounts, spec::CgroupDriver},
    firewall::{Isolation, Verdict},
};

const SHOP: &str = r"
pods:
  - {name: client, kind: Job}
  - name: gateway
    namespace: ingress
    server:
      kind: nginx
      port: 80
      request_id: true
      locations:
        - {path: /, to: shop/frontend, by_name: true}
        - {path: /none, answer: 503}
  - name: edge
    namespace: ingress
    server: {kind: haproxy, port: 80, routes: [{path: /api, to: shop/frontend}]}
  - name: frontend
    server:
      kind: app
      port: 8080
      routes:
        /: {calls: [{url: 'http://cart/', on_failure: 502}]}
        /api: {body: api}
        /empty: {calls: [{url: 'http://empty/', on_failure: 502}]}
        /outside: {calls: [{url: 'http://pay.example.com/', on_failure: 504}]}
  - name: cart
    server: {kind: app, port: 8080, model: thread-pool, routes: {/: {calls: [{url: 'tcp://redis:6379'}]}}}
  - {name: redis, kind: StatefulSet, server: {kind: redis, port: 6379}}
  - name: loop
    server: {kind: app, port: 8080, model: event-loop, routes: {/: {calls: [{url: 'http://cart/'}]}}}
services:
  - {name: gateway, namespace: ingress, port: 80}
  - {name: edge, namespace: ingress, port: 80}
  - {name: frontend, port: 80, target_port: 8080}
  - {name: cart, port: 80, target_port: 8080}
  - {name: loop, port: 80, target_port: 8080}
  - {name: redis, port: 6379}
  - {name: empty, port: 80, selector: {app: nobody}}
outside:
  - {name: pay.example.com, port: 80, routes: {/: {body: paid}}}
  - {name: silent.example.com, port: 80}
servfail_zones: [broken.example]
";

fn spec(yaml: &str, ip: u8) -> ClusterSpec {
    serde_yaml_ng::from_str(&format!("ip: {ip}\n{yaml}")).unwrap()
}

fn get(cluster: &Cluster, url: &str) -> String {
    let report = cluster.client("client", &["--url", url, "--timeout-ms", "1500"]).unwrap();
    report.results.into_keys().collect()
}

#[test]
fn traffic_goes_as_in_a_cluster() {
    for ip in [4, 6] {
        let started = Instant::now();
        let cluster = Cluster::up(&spec(SHOP, ip)).unwrap();
        println!("ip {ip}: up in {:?}", started.elapsed());
        for (url, expected) in [
            ("http://gateway.ingress/", "200"),
            ("http://gateway.ingress/empty", "502"),
            ("http://gateway.ingress/outside", "200"),
            ("http://gateway.ingress/none", "503"),
            ("http://gateway.ingress/absent", "404"),
            ("http://edge.ingress/api", "200"),
            ("http://edge.ingress/other", "503"),
            ("http://loop/", "200"),
            ("http://empty/", "refused"),
            ("http://frontend.shop.svc.cluster.local/api", "200"),
            ("http://nowhere/", "dns"),
            ("http://a.broken.example/", "dns-again"),
            ("http://silent.example.com/", "connect-timeout"),
        ] {
            assert_eq!(get(&cluster, url), expected, "{url} over IPv{ip}; frontend: {}", cluster.log("frontend"));
        }
        let report =
            cluster.client("client", &["--url", "http://frontend/", "-n", "200", "-c", "16", "--ids"]).unwrap();
        assert_eq!(report.count("200"), 200, "{report:?}");
    }
}

#[test]
fn a_policy_drops_in_silence_or_rejects_and_admits_the_listed() {
    let cluster = Cluster::up(&spec(SHOP, 4)).unwrap();
    let isolation =
        |verdict| Isolation { pod: "redis".into(), direction: Default::default(), allow: vec!["cart".into()], verdict };
    cluster.isolate(&isolation(Verdict::Drop)).unwrap();
    assert_eq!(get(&cluster, "tcp://redis:6379"), "connect-timeout");
    assert_eq!(get(&cluster, "http://cart/"), "200");
    drop(cluster);
    let cluster = Cluster::up(&spec(SHOP, 4)).unwrap();
    cluster.isolate(&isolation(Verdict::Reject)).unwrap();
    assert_eq!(get(&cluster, "tcp://redis:6379"), "refused");
}

#[test]
fn a_stopped_dns_server_answers_nothing() {
    let cluster = Cluster::up(&spec(SHOP, 4)).unwrap();
    cluster.signal_server("coredns", nix::sys::signal::Signal::SIGSTOP).unwrap();
    let started = Instant::now();
    assert_eq!(get(&cluster, "http://cart/"), "dns-again");
    assert!(started.elapsed() > Duration::from_millis(1900), "{:?}", started.elapsed());
}

#[test]
fn processes_are_in_cgroups_named_as_the_kubelet_names_them() {
    for (driver, mark) in
        [(CgroupDriver::Systemd, "/cri-containerd-"), (CgroupDriver::Cgroupfs, "/kubepods/burstable/pod")]
    {
        let mut spec = spec(SHOP, 4);
        spec.cgroups = driver;
        let cluster = Cluster::up(&spec).unwrap();
        let path = cluster.exec("client", "/bin/sh", &["-c", "grep ^0:: /proc/self/cgroup"]).unwrap();
        assert!(path.contains(&cluster.instance.name) && path.contains(mark), "{path}");
        assert!(path.contains(&cluster.plan.pod("client").unwrap().container_id), "{path}");
        let resolver = cluster.exec("client", "/bin/cat", &["/etc/resolv.conf"]).unwrap();
        assert!(resolver.contains("nameserver 10.96.0.10\nsearch shop.svc.cluster.local "), "{resolver}");
    }
}

#[test]
fn two_clusters_at_once_and_nothing_left_of_either() {
    let one = Cluster::up(&spec(SHOP, 4)).unwrap();
    let two = Cluster::up(&spec(SHOP, 4)).unwrap();
    assert_ne!(one.instance.name, two.instance.name);
    assert_eq!((get(&one, "http://frontend/"), get(&two, "http://frontend/")), ("200".into(), "200".into()));
    let names = [one.instance.name.clone(), two.instance.name.clone()];
    let pids: Vec<u32> = one.pids().into_iter().chain(two.pids()).collect();
    let namespaces: Vec<_> = pids.iter().filter_map(|pid| namespace(&pid.to_string())).collect();
    assert_eq!(namespaces.len(), pids.len());
    drop(one);
    assert_eq!(get(&two, "http://frontend/"), "200");
    drop(two);
    for name in names {
        assert_gone(&name);
    }
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
    for entry in std::fs::read_dir("/proc").unwrap() {
        let holder = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            namespace(&holder).is_none_or(|found| !namespaces.contains(&found)),
            "process {holder} is in a namespace"
        );
    }
    let links =
        std::fs::read_dir("/sys/class/net").unwrap().map(|link| link.unwrap().file_name().into_string().unwrap());
    assert_eq!(links.filter(|link| link.starts_with("cali")).count(), 0, "the machine's own namespace was touched");
}

#[test]
fn a_panic_leaves_nothing() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let result = std::thread::spawn(move || {
        let cluster = Cluster::up(&spec(SHOP, 4)).unwrap();
        sender.send(cluster.instance.name.clone()).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(result.is_err());
    assert_gone(&receiver.recv().unwrap());
}

/// The owner is killed without a chance to clean up; the next start does it.
#[test]
fn the_leftovers_of_a_killed_owner_are_removed_by_the_next_start() {
    if std::env::var_os("TRACER_TESTS_HOLD").is_some() {
        let cluster = Cluster::up(&spec(SHOP, 4)).unwrap();
        eprintln!("UP {}", cluster.instance.name);
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_leftovers_of_a_killed_owner_are_removed_by_the_next_start", "--nocapture"])
        .env("TRACER_TESTS_HOLD", "1")
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(owner.stderr.take().unwrap()));
    let name = lines.find_map(|line| line.unwrap().strip_prefix("UP ").map(str::to_owned)).unwrap();
    assert!(CgroupMounts::find().unwrap().unified.join(&name).exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    drop(Cluster::up(&spec("pods: []", 4)).unwrap());
    assert_gone(&name);
}

#[test]
fn a_memory_limit_kills_the_container_that_exceeds_it() {
    let yaml = r"
pods:
  - {name: client, kind: Job}
  - name: hungry
    memory_limit_mib: 64
    server: {kind: app, port: 8080, routes: {/: {misbehave: oom}}}
services: [{name: hungry, port: 8080}]
";
    let cluster = Cluster::up(&spec(yaml, 4)).unwrap();
    assert!(["reset", "closed"].contains(&get(&cluster, "http://hungry:8080/").as_str()));
    assert!(!cluster.log("hungry").contains("no memory limit"), "{}", cluster.log("hungry"));
}

fn assert_gone(name: &str) {
    let mounts = CgroupMounts::find().unwrap();
    let roots = [Some(mounts.unified), mounts.memory_v1, mounts.cpu_v1, Some(std::env::temp_dir())];
    for root in roots.into_iter().flatten() {
        for path in [root.join(name), root.join(format!("{name}-node"))] {
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}

fn namespace(pid: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}
