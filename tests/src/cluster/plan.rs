//! A cluster as planned: names, identities and addresses, all decided before anything is made. Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, bail};

use super::spec::{CgroupDriver, ClusterSpec, Family, OutsideSpec, PodSpec, ProxyMode, ServiceSpec, WorkloadKind};
use crate::server::dns;

pub const NODE_NAME: &str = "worker-1";
/// The one that answers nothing.
pub const DEAD_NODE_NAME: &str = "worker-2";
pub const SECOND_NODE_NAME: &str = "worker-3";

/// Where a pod lies: its node's name, and the node's address.
#[must_use]
pub fn node_of(pod: &PodSpec) -> (&'static str, &'static str) {
    match (pod.on_dead_node, pod.on_second_node) {
        (true, _) => (DEAD_NODE_NAME, "192.168.0.12"),
        (_, true) => (SECOND_NODE_NAME, "192.168.1.13"),
        _ => (NODE_NAME, "192.168.0.11"),
    }
}

/// An address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Addresses {
    #[must_use]
    pub fn of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    fn pod(spec: &PodSpec, number: u8) -> Self {
        let node = match node_of(spec).0 {
            DEAD_NODE_NAME => 2,
            SECOND_NODE_NAME => 3,
            _ => 1,
        };
        Self {
            v4: Ipv4Addr::new(10, node, 0, number),
            v6: Ipv6Addr::new(0xfd00, 0x10, u16::from(node), 0, 0, 0, 0, number.into()),
        }
    }

    fn service(number: u8) -> Self {
        Self { v4: Ipv4Addr::new(10, 96, 0, number), v6: Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, number.into()) }
    }

    fn outside(number: u8) -> Self {
        Self {
            v4: Ipv4Addr::new(203, 0, 113, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, number.into()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub spec: PodSpec,
    /// The pod's own name, with the suffixes its controllers give.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub uid: String,
    pub container_id: String,
    pub sandbox_id: String,
    pub addresses: Addresses,
    /// The node's end of the link.
    pub link: String,
}

impl Pod {
    /// Whether a scenario means this one: by its workload's name, with the namespace before it where names repeat.
    #[must_use]
    pub fn is(&self, workload: &str) -> bool {
        match workload.split_once('/') {
            Some((namespace, name)) => self.spec.namespace == namespace && self.spec.name == name,
            None => self.spec.name == workload,
        }
    }

    /// The name of the directory with its files.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("{}.{}", self.spec.namespace, self.name)
    }

    /// The container's cgroup as the kubelet and containerd name it, relative to the hierarchy's root.
    #[must_use]
    pub fn cgroup(&self, driver: CgroupDriver, container: &str) -> String {
        let uid = &self.uid;
        match driver {
            CgroupDriver::Systemd => format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{container}.scope",
                uid.replace('-', "_")
            ),
            CgroupDriver::Cgroupfs => format!("kubepods/burstable/pod{uid}/{container}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Service {
    pub spec: ServiceSpec,
    pub addresses: Addresses,
    /// Indices of the pods its selector matches, ready or not.
    pub matched: Vec<usize>,
    /// The host outside that answers for it.
    pub backend: Option<Addresses>,
    pub protocols: &'static [&'static str],
}

impl Service {
    #[must_use]
    pub fn target_port(&self) -> u16 {
        self.spec.target_port.unwrap_or(self.spec.port)
    }

    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.spec.namespace, self.spec.name)
    }
}

#[derive(Clone, Debug)]
pub struct Outside {
    pub spec: OutsideSpec,
    pub addresses: Addresses,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub family: Family,
    pub cgroups: CgroupDriver,
    pub pods: Vec<Pod>,
    pub services: Vec<Service>,
    pub outside: Vec<Outside>,
    pub policies: Vec<serde_json::Value>,
    pub objects: Vec<serde_json::Value>,
    pub servfail_zones: Vec<String>,
    pub forwarded_zones: BTreeMap<String, String>,
    pub proxy: ProxyMode,
    pub masquerade: bool,
    /// What the DNS answers.
    pub names: Vec<(String, IpAddr)>,
}

impl Plan {
    /// `seed` makes uids and container ids of different clusters differ.
    pub fn new(spec: &ClusterSpec, seed: &str) -> Result<Self> {
        let ClusterSpec {
            ip: family,
            cgroups,
            proxy,
            pods,
            services,
            policies,
            objects,
            outside,
            servfail_zones,
            forwarded_zones,
            dns_not_ready,
            masquerade,
        } = spec;
        if pods.len() > 200 || services.len() > 200 {
            bail!("a cluster has at most 200 pods and 200 services");
        }
        let pods: Vec<_> = [dns::pod(!dns_not_ready)]
            .iter()
            .chain(pods)
            .zip(2..)
            .map(|(pod, number)| plan_pod(pod, number, seed))
            .collect();
        let outside: Vec<_> = (outside.iter().zip(10..))
            .map(|(spec, number)| Outside { spec: spec.clone(), addresses: Addresses::outside(number) })
            .collect();
        let services: Vec<_> = [dns::service()]
            .iter()
            .chain(services)
            .zip(10..)
            .map(|(service, number)| plan_service(service, number, &pods, &outside))
            .collect();
        let names = (services.iter())
            .map(|s| (format!("{}.{}.svc.cluster.local", s.spec.name, s.spec.namespace), s.addresses.of(*family)))
            .chain(outside.iter().map(|o| (o.spec.name.clone(), o.addresses.of(*family))))
            .collect();
        Ok(Self {
            family: *family,
            cgroups: *cgroups,
            pods,
            services,
            outside,
            policies: policies.clone(),
            objects: objects.clone(),
            servfail_zones: servfail_zones.clone(),
            forwarded_zones: forwarded_zones.clone(),
            proxy: *proxy,
            masquerade: *masquerade,
            names,
        })
    }

    /// The first pod of a workload, by the workload's name.
    pub fn pod(&self, workload: &str) -> Result<&Pod> {
        self.pods.iter().find(|pod| pod.is(workload)).with_context(|| format!("no pod of {workload}"))
    }

    /// Whether it has pods on a second node.
    #[must_use]
    pub fn has_second_node(&self) -> bool {
        self.pods.iter().any(|pod| pod.spec.on_second_node)
    }

    pub fn service(&self, full_name: &str) -> Result<&Service> {
        self.services.iter().find(|s| s.full_name() == full_name).with_context(|| format!("no service {full_name}"))
    }

    /// `address:port` of a Service's ClusterIP.
    pub fn service_address(&self, full_name: &str) -> Result<String> {
        let service = self.service(full_name)?;
        Ok(std::net::SocketAddr::new(service.addresses.of(self.family), service.spec.port).to_string())
    }

    /// `name:port` by the Service's DNS name.
    pub fn service_name(&self, full_name: &str) -> Result<String> {
        let spec = &self.service(full_name)?.spec;
        Ok(format!("{}.{}.svc.cluster.local:{}", spec.name, spec.namespace, spec.port))
    }

    /// Replaces `${pod:NAME}`, `${svc:NS/NAME}`, `${outside:NAME}` by addresses and `${podname:NAME}` by the pod's name.
    pub fn expand(&self, text: &str) -> Result<String> {
        let Some((before, rest)) = text.split_once("${") else { return Ok(text.to_owned()) };
        let (variable, after) = rest.split_once('}').context("an unclosed ${")?;
        let bracketed = |address: IpAddr| if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let value = match variable.split_once(':').context("a variable without a colon")? {
            ("pod", name) => bracketed(self.pod(name)?.addresses.of(self.family)),
            ("podname", name) => self.pod(name)?.name.clone(),
            ("svc", name) => bracketed(self.service(name)?.addresses.of(self.family)),
            ("outside", name) => {
                let host = self.outside.iter().find(|host| host.spec.name == name).context("no such host outside")?;
                bracketed(host.addresses.of(self.family))
            }
            (other, _) => bail!("unknown variable {other}"),
        };
        Ok(format!("{before}{value}{}", self.expand(after)?))
    }
}

fn plan_pod(spec: &PodSpec, number: u8, seed: &str) -> Pod {
    let key = format!("{seed}/{}/{}/{number}", spec.namespace, spec.name);
    let hash = hex(&key, 64);
    let name = match spec.kind {
        WorkloadKind::Deployment => format!("{}-{}-{}", spec.name, replica_set_hash(&spec.name), &hash[10..15]),
        WorkloadKind::StatefulSet => format!("{}-0", spec.name),
        WorkloadKind::Job => format!("{}-{}", spec.name, &hash[10..15]),
        WorkloadKind::Pod => spec.name.clone(),
    };
    let mut labels = spec.labels.clone();
    labels.entry("app".into()).or_insert_with(|| spec.name.clone());
    let uid = format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32]);
    Pod {
        name,
        labels,
        uid,
        container_id: hex(&format!("{key}/container"), 64),
        sandbox_id: hex(&format!("{key}/sandbox"), 64),
        addresses: Addresses::pod(spec, number),
        link: format!("cali{}", &hash[..11]),
        spec: spec.clone(),
    }
}

fn plan_service(spec: &ServiceSpec, number: u8, pods: &[Pod], outside: &[Outside]) -> Service {
    let selector = spec.selector();
    let matched = (0..pods.len())
        .filter(|&index| {
            let pod = &pods[index];
            !selector.is_empty()
                && pod.spec.namespace == spec.namespace
                && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        })
        .collect();
    let protocols: &[&str] = if spec.port == 53 { &["udp", "tcp"] } else { &["tcp"] };
    let backend = outside.iter().find(|host| Some(&host.spec.name) == spec.backend.as_ref()).map(|host| host.addresses);
    Service { spec: spec.clone(), addresses: Addresses::service(number), matched, backend, protocols }
}

/// The part of a pod's name that its ReplicaSet shares.
#[must_use]
pub fn replica_set_hash(workload: &str) -> String {
    hex(workload, 9)
}

/// Hexadecimal digits that look random and are the same every time (FNV-1a and a finaliser).
fn hex(text: &str, digits: usize) -> String {
    let mut state =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut result = String::new();
    while result.len() < digits {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        result += &format!("{:016x}", (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb));
    }
    result.truncate(digits);
    result
}
