//! Probes: the kubelet's requests and connects, by which it sees whether a container is well. They are known by who makes
//! them (the kubelet, from the node) and by the definition in the pod that they fit.

use std::net::{IpAddr, SocketAddr};

use super::{Correlator, call::Call};
use crate::{
    event::{Connect, Exchange, Ktime, Outcome, Role, Seen},
    k8s::{
        AddressOwner,
        model::{Container, Pod, PortRef, Probe, Protocol},
    },
};

/// Processes that are or contain a kubelet: its own, of MicroK8s, of k3s.
pub(super) const KUBELETS: [&str; 5] = ["kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent"];
/// The kubelet takes statuses below this for success (pkg/probe/http/http.go of Kubernetes).
pub(crate) const FAILING_STATUS: u16 = 400;
/// Both ends of a probe are told within this many others.
const ENDS: usize = 64;
/// Paths are kept up to this length.
const PATH: usize = 128;

/// How one attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    /// Connected, and no answer in time.
    None,
    Refused,
    /// The connect wasn't answered.
    Silence,
}

impl Answer {
    fn failed(self) -> bool {
        !matches!(self, Self::Status(status) if status < FAILING_STATUS)
    }
}

/// One probe as it was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) start: Ktime,
    pub(crate) at: Ktime,
    pub(crate) target: SocketAddr,
    /// Of an HTTP request that was sent.
    pub(crate) path: Option<String>,
    pub(crate) answer: Answer,
    /// Of an HTTP request: tells its two ends to be one.
    pub(crate) hop: Option<(SocketAddr, u32)>,
}

/// How one probe of a container has gone lately.
#[derive(Clone, Debug)]
pub(crate) struct ProbeRun {
    pub(crate) pod_uid: String,
    pub(crate) container: String,
    /// `startup`, `readiness` or `liveness`.
    pub(crate) kind: &'static str,
    pub(crate) probe: Probe,
    /// Failures in a row, up to the newest attempt.
    pub(crate) failures: u32,
    /// It was seen to succeed before.
    pub(crate) succeeded: bool,
    pub(crate) last: Attempt,
    pub(crate) hops: Vec<(SocketAddr, u32)>,
}

impl ProbeRun {
    /// As often as the kubelet waits for.
    pub(crate) fn is_decided(&self) -> bool {
        self.failures >= self.probe.threshold()
    }
}

impl Correlator {
    /// Whether a process is the node's kubelet.
    pub(crate) fn is_kubelet(&self, cgroup: u64, tgid: Option<u32>, comm: &str) -> bool {
        if self.identity.is_in_pod(cgroup) {
            return false;
        }
        let name = if comm.is_empty() { self.identity.comm_of(tgid, cgroup) } else { Some(comm) };
        name.is_some_and(|name| KUBELETS.contains(&name))
    }

    fn is_probe(&self, exchange: &Exchange) -> bool {
        match exchange.role {
            Role::Client => {
                let tgid = exchange.connector.or(exchange.actor).map(|a| a.tgid);
                self.is_kubelet(exchange.cgroup, tgid, &exchange.comm)
            }
            // Where the kubelet isn't observed, nobody else on the node has a reason to make a pod's probe.
            Role::Server => {
                matches!(self.snapshot.owner_of(exchange.remote.ip()), Some(AddressOwner::Node(_)))
                    && self.window.other_end(exchange).is_none()
                    && !self.identity.kubelet
            }
        }
    }

    /// Whether an exchange that its status wouldn't make a failure is one to the kubelet.
    pub(crate) fn fails_a_probe(&self, exchange: &Exchange) -> bool {
        exchange.role == Role::Client
            && exchange.status().is_some_and(|status| status >= FAILING_STATUS)
            && self.is_kubelet(exchange.cgroup, exchange.connector.map(|a| a.tgid), &exchange.comm)
    }

    /// Remembers an exchange if it is a probe.
    pub(crate) fn note_exchange(&mut self, exchange: &Exchange) {
        if exchange.seen == Seen::Open || !self.is_probe(exchange) {
            return;
        }
        let answer = match exchange.outcome {
            Outcome::Status(status) => Answer::Status(status),
            Outcome::Unanswered | Outcome::Open => Answer::None,
        };
        let hop = Some(exchange.hop_key());
        if self.window.probes.recent().take(ENDS).any(|known| known.hop == hop) {
            return;
        }
        self.window.probes.push(Attempt {
            start: exchange.start_ns,
            at: exchange.end_ns,
            target: if exchange.role == Role::Client { exchange.remote } else { exchange.local },
            path: exchange.request.as_ref().map(|head| head.path.clone()),
            answer,
            hop,
        });
    }

    /// Remembers a failed connect if it is a probe.
    pub(crate) fn note_connect(&mut self, connect: &Connect) {
        if connect.open || !self.is_kubelet(connect.cgroup, Some(connect.actor.tgid), &connect.comm) {
            return;
        }
        let refused = connect.reset || connect.error == super::ECONNREFUSED;
        self.window.probes.push(Attempt {
            start: connect.start_ns,
            at: connect.end_ns,
            target: connect.remote,
            path: None,
            answer: if refused { Answer::Refused } else { Answer::Silence },
            hop: None,
        });
    }

    /// How the probes of a pod have gone; only those that were seen. Where several are alike, their attempts can't be told
    /// apart and are shared among them.
    pub(crate) fn probe_runs(&self, pod: &Pod) -> Vec<ProbeRun> {
        if self.window.probes.recent().next().is_none() || pod.spec.host_network {
            return Vec::new();
        }
        let has_address = pod.addresses().next().is_some();
        let is_own = |attempt: &&Attempt| match attempt.target.ip() {
            ip if has_address => pod.addresses().any(|own| own == ip),
            ip => self.probed(ip).is_some_and(|known| known.metadata.uid == pod.metadata.uid),
        };
        let own: Vec<&Attempt> = self.window.probes.recent().filter(is_own).collect();
        let probes: Vec<_> = pod.running_containers().flat_map(defined).collect();
        let alike = |probe: &Probe| {
            u32::try_from(probes.iter().filter(|(_, _, other)| same_target(other, probe)).count()).unwrap_or(1).max(1)
        };
        let run = |(container, kind, probe): &(&Container, &'static str, &Probe)| {
            let port = port(container, probe)?;
            let mut attempts: Vec<&&Attempt> = own.iter().filter(|a| fits(a, probe, port)).collect();
            attempts.sort_by_key(|a| std::cmp::Reverse(a.start));
            let last = (**attempts.first()?).clone();
            // A longer pause means that something wasn't seen, such as a TCP probe that succeeded.
            let pause = u64::from(2 * probe.period() + probe.timeout()) * 1_000_000_000;
            let mut before = last.start;
            let row = attempts.iter().take_while(|a| {
                let next = before.saturating_sub(a.start) <= pause;
                before = a.start;
                next && a.answer.failed()
            });
            let row: Vec<_> = row.collect();
            Some(ProbeRun {
                pod_uid: pod.metadata.uid.clone(),
                container: container.name.clone(),
                kind,
                probe: (*probe).clone(),
                failures: u32::try_from(row.len()).unwrap_or(u32::MAX).div_ceil(alike(probe)),
                succeeded: attempts.iter().any(|a| !a.answer.failed()),
                hops: row.iter().filter_map(|a| a.hop).collect(),
                last,
            })
        };
        probes.iter().filter_map(run).collect()
    }

    /// The pod at an address. The cluster tells a new pod's late; what it answered tells its cgroup.
    fn probed(&self, address: IpAddr) -> Option<&Pod> {
        match self.snapshot.owner_of(address) {
            Some(AddressOwner::Pod(pod)) => Some(pod),
            Some(_) => None,
            None => self.identity.pod_at(&self.snapshot, address),
        }
    }

    /// The probes that a call is an attempt of, with the pod; none if it is no probe.
    pub(crate) fn probing(&self, call: &Call) -> Option<(&Pod, Vec<ProbeRun>)> {
        let (target, start) = match call {
            Call::Exchange(x) if self.is_probe(x) => {
                (if x.role == Role::Client { x.remote } else { x.local }, x.start_ns)
            }
            Call::Connect(c) if self.is_kubelet(c.cgroup, Some(c.actor.tgid), &c.comm) => (c.remote, c.start_ns),
            _ => return None,
        };
        let pod = self.probed(target.ip())?;
        let mut runs = self.probe_runs(pod);
        let path = match call {
            Call::Exchange(x) => x.request.as_ref().map(|head| head.path.as_str()),
            _ => None,
        };
        runs.retain(|run| {
            let container = pod.running_containers().find(|c| c.name == run.container);
            let port = container.and_then(|c| port(c, &run.probe));
            port == Some(target.port()) && path.is_none_or(|p| is_path(&run.probe, p)) && run.last.start >= start
        });
        (!runs.is_empty()).then_some((pod, runs))
    }
}

fn defined(container: &Container) -> impl Iterator<Item = (&Container, &'static str, &Probe)> {
    [
        ("startup", &container.startup_probe),
        ("readiness", &container.readiness_probe),
        ("liveness", &container.liveness_probe),
    ]
    .into_iter()
    .filter_map(move |(kind, probe)| Some((container, kind, probe.as_deref()?)))
}

/// The port that a probe goes to, by number or by the container's name for it.
fn port(container: &Container, probe: &Probe) -> Option<u16> {
    let http = probe.http_get.as_ref().map(|get| &get.port);
    match http.or(probe.tcp_socket.as_ref().map(|socket| &socket.port)) {
        Some(PortRef::Number(number)) => Some(*number),
        Some(PortRef::Name(name)) => {
            let mut ports = container.ports.iter();
            ports.find(|p| p.name == *name && p.protocol == Protocol::Tcp).map(|p| p.container_port)
        }
        None => probe.grpc.as_ref().map(|grpc| grpc.port),
    }
}

fn same_target(a: &Probe, b: &Probe) -> bool {
    a.http_get == b.http_get && a.tcp_socket == b.tcp_socket && a.grpc == b.grpc && a.exec == b.exec
}

/// Whether an attempt can be one of this probe: a connect that failed has no path yet.
fn fits(attempt: &Attempt, probe: &Probe, port: u16) -> bool {
    attempt.target.port() == port
        && match &attempt.path {
            Some(path) => is_path(probe, path),
            None => attempt.hop.is_none() || probe.http_get.is_some(),
        }
}

/// Whether an HTTP probe asks for that path; queries aren't kept.
fn is_path(probe: &Probe, path: &str) -> bool {
    let Some(get) = &probe.http_get else { return false };
    let wanted = get.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let wanted = wanted.split('?').next().unwrap_or(wanted);
    let wanted = if wanted.starts_with('/') { wanted.to_owned() } else { format!("/{wanted}") };
    wanted == path || (path.len() + 4 >= PATH && wanted.starts_with(path))
}
