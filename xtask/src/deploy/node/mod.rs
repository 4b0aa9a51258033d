//! `cargo xtask node`: the manifests on a real kubelet with containerd, kube-proxy and API server. The node has a network, a
//! mount and a PID namespace of its own, as a node of `kind` has; its cgroups are below the machine's.

mod kubernetes;
mod machine;
mod shop;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use machine::{Node, within};
use serde_json::{Value, json};

use super::image::{self, DEBUG_IMAGE};
use super::manifests;
use crate::cargo::{self, cargo, program};
use crate::{kernels, setup, test};

/// Of each fault.
const REQUESTS: &str = "3";

/// What must be there before it is asked: `kubectl get`, a field, and what that must hold.
const NEEDED: &[(&str, &[&str], &str, &str)] = &[
    ("the agent", &["pods", "-n", "tracer"], "{.items[*].status.containerStatuses[*].ready}", "true"),
    ("the shop", &["endpoints", "frontend", "-n", "shop"], "{.subsets[*].addresses[*].ip}", "10."),
    ("its DNS", &["endpoints", "dns", "-n", "kube-system"], "{.subsets[*].addresses[*].ip}", "10."),
    (
        "a crash loop",
        &["pods", "-n", "shop", "-l", "app=crashing"],
        "{.items[*].status.containerStatuses[*].state.waiting.reason}",
        "CrashLoopBackOff",
    ),
];

/// Starts the node, installs the tracer as its users do, and asks it about what is broken.
pub(crate) fn check() -> Result<()> {
    setup::run(setup::Report::WhenInstalling)?;
    setup::deploy()?;
    setup::node()?;
    cargo::run(&mut cargo(["build", "--package", "tracer", "--package", "tracer-tests", "--bins"]))?;
    let kubernetes = kubernetes::programs(&kernels::cache("tracer-node")?)?;
    let images = images()?;
    let node = Node::start(&kubernetes, &images)?;
    let mut agent = manifests::base_objects()?;
    agent.sort_by_key(|object| object["kind"] != "Namespace");
    let agent = json!({"apiVersion": "v1", "kind": "List", "items": agent});
    node.apply("tracer", &agent.to_string().replace("\"image\":\"tracer:", "\"image\":\"localhost/tracer-debug:"))?;
    node.apply("shop", &shop::objects().to_string())?;
    for (what, resource, field, expected) in NEEDED {
        node.wait(what, resource, field, expected)?;
    }
    for (path, ..) in [("/", "", "")].iter().chain(shop::FAULTS) {
        node.request(path)?;
    }
    node.judge()
}

/// Images of the test's programs, as archives.
fn images() -> Result<PathBuf> {
    let directory = cargo::target_dir().join("node-images");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    image::build_debug()?;
    image::save(DEBUG_IMAGE, &directory.join("tracer.tar"))?;
    image::remove_debug()?;
    for (name, path, command) in [
        ("localhost/pause:1", find("sleep")?, "[\"/sleep\", \"infinity\"]"),
        (shop::APP, test::binary("tracer-app"), "[\"/tracer-app\"]"),
        (shop::DNS, find("unbound")?, "[\"/unbound\"]"),
    ] {
        let file = format!("FROM scratch\nCOPY . /\nENTRYPOINT {command}\n");
        image::pack(name, &path, &file)?;
        let archive = name.rsplit('/').next().unwrap_or(name).replace(':', "-");
        image::save(name, &directory.join(archive).with_extension("tar"))?;
        image::remove(name)?;
    }
    Ok(directory)
}

fn find(name: &str) -> Result<PathBuf> {
    let found = cargo::output(program(Path::new("sh")).args(["-c", "command -v \"$0\"", name]))?;
    Ok(PathBuf::from(found.trim()))
}

impl Node {
    /// From a pod of the client's own.
    fn request(&self, path: &str) -> Result<()> {
        let name = format!("client-{}", if path == "/" { "well" } else { &path[1..] });
        let url = format!("http://frontend{path}");
        let mut run = self.kubectl(&["-n", "shop", "run", &name, "--image", shop::APP, "--restart=Never", "--"])?;
        cargo::run(run.args(["client", "--url", &url, "-n", REQUESTS, "--pause-ms", "50"]).stdout(Stdio::null()))?;
        self.wait(&name, &["pod", &name, "-n", "shop"], "{.status.phase}", "Succeeded")
    }

    /// Each fault is told once, as what it is, and nothing else is.
    fn judge(&self) -> Result<()> {
        // The probe fails again and again, which is one incident.
        let faults = || shop::FAULTS.iter().chain([&shop::PROBE]);
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut said = self.incidents()?;
        while !faults().all(|fault| said.iter().any(|incident| is_about(incident, fault.0))) {
            ensure!(Instant::now() < deadline, "not all faults are told: {said:#?}");
            std::thread::sleep(Duration::from_millis(500));
            said = self.incidents()?;
        }
        let mut wrong = Vec::new();
        let mut right = BTreeSet::new();
        for incident in &said {
            let origin = &incident["cause"]["origin"];
            let place = origin["workload"].as_str().or(origin["service"].as_str()).unwrap_or("nobody");
            let cause = incident["cause"]["id"].as_str().unwrap_or_default();
            match faults().find(|(path, ..)| is_about(incident, path)) {
                Some((path, expected, of)) if cause == *expected && place == *of && right.insert(path) => {
                    eprintln!("{path}: {cause}, {place}");
                }
                _ => wrong.push(format!("{incident:#}")),
            }
        }
        ensure!(wrong.is_empty(), "told wrongly, or twice, or of nothing:\n{}", wrong.join("\n"));
        Ok(())
    }

    /// What the agents say, asked through the API server.
    fn incidents(&self) -> Result<Vec<Value>> {
        let mut cluster = within(test::binary("tracer"));
        cluster.args(["cluster", "incidents", "--output", "json"]).env("KUBECONFIG", self.state.join("admin.conf"));
        let said = cargo::output(&mut cluster)?;
        let lines: Vec<Value> = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|line| line["type"] == "incident").collect())
    }
}

fn is_about(incident: &Value, path: &str) -> bool {
    incident["symptom"]["path"] == path
}
