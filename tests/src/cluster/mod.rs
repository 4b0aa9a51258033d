//! One node of a cluster on a real kernel, or two: every pod is a network namespace with a link to the node's namespace, a cgroup
//! named as the kubelet names it, its own /etc/resolv.conf, and a real process.

pub mod instance;
mod kubelet;
mod limits;
mod log;
mod network;
mod outside;
pub mod plan;
mod process;
pub mod spec;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Child,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use self::network::Nodes;
pub use self::{
    instance::{Instance, clean_up_on_signals, judged},
    limits::{Then, Volume},
    plan::Plan,
    spec::{ClusterSpec, Family},
};
use crate::{
    app::client::Report,
    firewall::{self, FirewallRule, Isolation},
    objects,
    run::{Place, app_binary, checked},
    server::{
        Server,
        tls::{authority_file, write_authority},
    },
    services, services_nftables,
};

/// A running cluster; dropping it removes everything. The thread that made it has to outlive it, since the kernel kills
/// the processes with that thread.
#[derive(Debug)]
pub struct Cluster {
    pub plan: Plan,
    pub instance: Instance,
    node: Child,
    second: Option<Child>,
    outside: Child,
    pods: Vec<Running>,
    hosts: Vec<Child>,
    kubelet: Option<Child>,
}

#[derive(Debug)]
struct Running {
    /// Index into the plan.
    index: usize,
    holder: Child,
    server: Option<Child>,
}

impl Cluster {
    pub fn up(spec: &ClusterSpec) -> Result<Self> {
        let instance = Instance::create()?;
        log::make_host_root(&instance.host_root())?;
        let plan = Plan::new(spec, &instance.name)?;
        write_authority(&instance.directory())?;
        let node = hold_at(&instance, vec![])?;
        let second = plan.has_second_node().then(|| hold_at(&instance, vec![])).transpose()?;
        let outside = hold_at(&instance, vec![])?;
        let mut cluster = Self { plan, instance, node, second, outside, pods: vec![], hosts: vec![], kubelet: None };
        cluster.make_pods()?;
        let pids: Vec<_> = cluster.pods.iter().map(|pod| (pod.index, pod.holder.id())).collect();
        let (first, second) = (cluster.node.id(), cluster.second.as_ref().map(Child::id));
        network::connect(&cluster.plan, Nodes { first, second, outside: cluster.outside.id() }, &pids)?;
        for (program, rules) in services::rules(&cluster.plan) {
            for node in [first].into_iter().chain(second) {
                checked(Place::network_of(node)?, program, &["--noflush"], &rules)?;
            }
        }
        for node in [first].into_iter().chain(second) {
            let place = || Place::network_of(node);
            match cluster.plan.proxy {
                spec::ProxyMode::Iptables => continue,
                spec::ProxyMode::Nftables => {
                    checked(place()?, "nft", &["-f", "-"], &services_nftables::rules(&cluster.plan))?
                }
                spec::ProxyMode::Ipvs => {
                    checked(place()?, "ip", &["-batch", "-"], &services::own_addresses(&cluster.plan))?
                }
            };
        }
        cluster.start_servers()?;
        cluster.hosts = outside::start(&cluster)?;
        Ok(cluster)
    }

    fn make_pods(&mut self) -> Result<()> {
        for (index, pod) in self.plan.pods.iter().enumerate() {
            if pod.spec.on_dead_node {
                continue;
            }
            let directory = self.instance.directory().join(pod.directory());
            fs::create_dir_all(&directory)?;
            let (resolv_conf, hosts) = (directory.join("resolv.conf"), directory.join("hosts"));
            let namespace = &pod.spec.namespace;
            let nameserver = self.plan.services[0].addresses.of(self.plan.family);
            fs::write(
                &resolv_conf,
                format!(
                    "nameserver {nameserver}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
                     options ndots:5 timeout:1 attempts:2\n"
                ),
            )?;
            fs::write(&hosts, format!("127.0.0.1 localhost\n::1 localhost\n{} {}\n", pod.addresses.v4, pod.name))?;
            let sandbox =
                self.pods_cgroup(pod.spec.on_second_node).join(pod.cgroup(self.plan.cgroups, &pod.sandbox_id));
            let container = self.container_cgroup(index);
            fs::create_dir_all(&sandbox)?;
            fs::create_dir_all(&container)?;
            let binds = vec![(resolv_conf, PathBuf::from("/etc/resolv.conf")), (hosts, PathBuf::from("/etc/hosts"))];
            let place = Place { fresh: Some(binds), cgroups: vec![sandbox.join("cgroup.procs")], ..Place::default() };
            self.pods.push(Running { index, holder: process::hold(place)?, server: None });
        }
        Ok(())
    }

    /// Above the cgroups of a node's pods.
    #[must_use]
    pub fn pods_cgroup(&self, second: bool) -> PathBuf {
        if second { self.instance.second_cgroup() } else { self.instance.pods_cgroup() }
    }

    fn container_cgroup(&self, index: usize) -> PathBuf {
        let pod = &self.plan.pods[index];
        self.pods_cgroup(pod.spec.on_second_node).join(pod.cgroup(self.plan.cgroups, &pod.container_id))
    }

    /// Servers start together; only DNS is waited for first, because gateways resolve names when they start.
    fn start_servers(&mut self) -> Result<()> {
        for position in 0..self.pods.len() {
            let index = self.pods[position].index;
            let pod = &self.plan.pods[index];
            let directory = self.instance.directory().join(pod.directory());
            let Some(words) = pod.spec.server.command(&directory, &self.plan)? else { continue };
            let words = limits::descriptors(&pod.spec, words);
            let log = log::file(&self.instance.host_root(), pod);
            fs::create_dir_all(log.parent().context("a file without a directory")?)?;
            let mut server = process::serve(self.inside(position)?, &words, &log)?;
            if matches!(pod.spec.server, Server::Dns) {
                process::wait_listening(&mut server, 53, &log)?;
            }
            self.pods[position].server = Some(server);
        }
        for running in &mut self.pods {
            let pod = &self.plan.pods[running.index];
            if let (Some(server), Some(port)) = (&mut running.server, pod.spec.server.port()) {
                process::wait_listening(server, port, &log::file(&self.instance.host_root(), pod))?;
            }
        }
        Ok(())
    }

    /// The namespaces and the container's cgroups of a running pod.
    fn inside(&self, position: usize) -> Result<Place> {
        let running = &self.pods[position];
        let mut place = Place::namespaces_of(running.holder.id())?;
        place.cgroups.push(self.container_cgroup(running.index).join("cgroup.procs"));
        let container = self.container_cgroup(running.index);
        place.cgroups.extend(limits::cgroups(&self.instance.mounts, &container, &self.plan.pods[running.index].spec)?);
        Ok(place)
    }

    fn position(&self, workload: &str) -> Result<usize> {
        let found = self.pods.iter().position(|pod| self.plan.pods[pod.index].is(workload));
        found.with_context(|| format!("no running pod of {workload}"))
    }

    /// Runs a program in the pod's container and returns its output.
    pub fn exec(&self, workload: &str, program: &str, arguments: &[&str]) -> Result<String> {
        checked(self.inside(self.position(workload)?)?, program, arguments, "")
    }

    /// Runs the load client in the pod; `arguments` as `tracer-app client` takes them.
    pub fn client(&self, workload: &str, arguments: &[&str]) -> Result<Report> {
        self.load(self.inside(self.position(workload)?)?, arguments)
    }

    /// The same in a container that is there for this only, at that directory of the cgroup tree.
    pub fn client_of(&self, workload: &str, container: &Path, arguments: &[&str]) -> Result<Report> {
        fs::create_dir_all(container)?;
        let mut place = self.inside(self.position(workload)?)?;
        place.cgroups = vec![container.join("cgroup.procs")];
        let report = self.load(place, arguments);
        // And the pod's, which has no other.
        for directory in container.ancestors().take(2) {
            fs::remove_dir(directory)?;
        }
        report
    }

    fn load(&self, place: Place, arguments: &[&str]) -> Result<Report> {
        let app = app_binary()?.display().to_string();
        let authority = authority_file(&self.instance.directory()).display().to_string();
        let mut words = vec!["client", "--ca", &authority];
        words.extend(arguments);
        Ok(serde_json::from_str(&checked(place, &app, &words, "")?)?)
    }

    /// Mounts a file system of its own at [`limits::VOLUME`] of a pod.
    pub fn mount_volume(&self, volume: &Volume) -> Result<()> {
        let arguments = volume.mount(&self.instance.directory())?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.exec(&volume.pod, "mount", &arguments)?;
        match &volume.then {
            Then::Nothing => Ok(()),
            Then::Fill(size) => {
                let file = format!("{}/filler", limits::VOLUME);
                self.exec(&volume.pod, "fallocate", &["-l", size, &file]).map(drop)
            }
            // Only the file system's own directory in sysfs knows it by its device.
            Then::Break => {
                let source = self.exec(&volume.pod, "findmnt", &["-n", "-o", "SOURCE", limits::VOLUME])?;
                let device = source.trim().trim_start_matches("/dev/");
                Ok(fs::write(Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error"), "test")?)
            }
        }
    }

    /// Stops (or continues) a pod's server without ending it.
    pub fn signal_server(&self, workload: &str, signal: Signal) -> Result<()> {
        let server = self.pods[self.position(workload)?].server.as_ref().context("the pod has no server")?;
        Ok(kill(Pid::from_raw(i32::try_from(server.id())?), signal)?)
    }

    /// Starts the probes of all pods, from the node.
    pub fn start_kubelet(&mut self) -> Result<()> {
        if self.kubelet.is_none() {
            self.kubelet = Some(kubelet::start(self)?);
        }
        Ok(())
    }

    /// Enforces an isolation as a CNI does, in the namespace of the pod's node.
    pub fn isolate(&self, isolation: &Isolation) -> Result<()> {
        let rules = firewall::isolation_rules(&self.plan, isolation)?;
        let second = self.plan.pod(&isolation.pod)?.spec.on_second_node;
        checked(Place::network_of(self.node_holder(second))?, "nft", &["-f", "-"], &rules).map(drop)
    }

    fn node_holder(&self, second: bool) -> u32 {
        self.second.as_ref().filter(|_| second).unwrap_or(&self.node).id()
    }

    pub fn add_firewall_rule(&self, rule: &FirewallRule) -> Result<()> {
        let pid = match &rule.pod {
            Some(pod) => self.pods[self.position(pod)?].holder.id(),
            None => self.node_holder(rule.second_node),
        };
        checked(Place::network_of(pid)?, "nft", &["-f", "-"], &firewall::rule(&self.plan, rule)?).map(drop)
    }

    /// Leaves a pod only these local ports for its connects.
    pub fn narrow_local_ports(&self, workload: &str, low: u16, high: u16) -> Result<()> {
        let pid = self.pods[self.position(workload)?].holder.id();
        let command = format!("echo {low} {high} > /proc/sys/net/ipv4/ip_local_port_range");
        checked(Place::network_of(pid)?, "sh", &["-c", &command], "").map(drop)
    }

    /// Inode numbers of the network namespaces of a node and its pods.
    pub fn network_namespaces(&self, second: bool) -> Result<Vec<u64>> {
        let pods = self.pods.iter().filter(|pod| self.plan.pods[pod.index].spec.on_second_node == second);
        let holders = pods.map(|pod| pod.holder.id()).chain([self.node_holder(second)]);
        holders.map(|pid| Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())).collect()
    }

    /// Writes the cluster's objects as YAML for `--kube-dump`.
    pub fn write_dump(&self) -> Result<PathBuf> {
        let file = self.instance.directory().join("objects.yaml");
        fs::write(&file, objects::yaml(&self.plan)?)?;
        Ok(file)
    }

    #[must_use]
    pub fn log(&self, workload: &str) -> String {
        let pod = self.plan.pods.iter().find(|pod| pod.is(workload));
        pod.and_then(|pod| fs::read_to_string(log::file(&self.instance.host_root(), pod)).ok()).unwrap_or_default()
    }

    /// The process ids of everything the cluster started itself.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let pods = self.pods.iter().flat_map(|pod| [&pod.holder].into_iter().chain(&pod.server));
        pods.chain([&self.node, &self.outside]).chain(&self.second).chain(&self.hosts).map(Child::id).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Self { plan: _, instance: _, node, second, outside, pods, hosts, kubelet } = self;
        let pods = pods.iter_mut().flat_map(|pod| [&mut pod.holder].into_iter().chain(&mut pod.server));
        for child in pods.chain([node, outside]).chain(second).chain(hosts).chain(kubelet) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn hold_at(instance: &Instance, files: Vec<(PathBuf, PathBuf)>) -> Result<Child> {
    let cgroups = vec![instance.node_cgroup().join("cgroup.procs")];
    process::hold(Place { fresh: Some(files), cgroups, ..Place::default() })
}
