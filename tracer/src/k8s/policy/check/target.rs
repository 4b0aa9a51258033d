//! The two ends of a flow as the user writes them.

use std::net::IpAddr;

use super::UsageError;
use crate::k8s::model::{Pod, Protocol, Service};
use crate::k8s::policy::Party;
use crate::k8s::{AddressOwner, Snapshot};

/// Names listed in an error, at most.
const LISTED: usize = 5;

pub(super) fn source<'a>(snapshot: &'a Snapshot, text: &str) -> Result<Party<'a>, UsageError> {
    if let Some(address) = address(text) {
        return party(snapshot, address);
    }
    match text.split_once('/') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) => {
            pod(snapshot, namespace, name).map(Party::Pod)
        }
        _ => Err(UsageError(format!("`--from {text}`: expected NAMESPACE/POD or an IP address"))),
    }
}

pub(super) fn destination<'a>(snapshot: &'a Snapshot, text: &str) -> Result<(Party<'a>, u16, Protocol), UsageError> {
    let malformed = || {
        UsageError(format!(
            "`--to {text}`: expected NAMESPACE/POD:PORT or IP:PORT, optionally with /TCP, /UDP or /SCTP"
        ))
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let (port, protocol) = match port.split_once('/') {
        None => (port, Protocol::Tcp),
        Some((port, name)) => {
            let unknown = || UsageError(format!("`--to {text}`: `{name}` is no protocol; use TCP, UDP or SCTP"));
            (port, Protocol::parse(name).ok_or_else(unknown)?)
        }
    };
    let party = match (address(host), host.split_once('/')) {
        (Some(address), _) => party(snapshot, address)?,
        (None, Some((namespace, name))) if is_name(namespace) && is_name(name) => {
            Party::Pod(pod(snapshot, namespace, name)?)
        }
        _ => return Err(malformed()),
    };
    let number = port.parse::<u16>().ok().filter(|port| *port != 0);
    let named = || party.pod().and_then(|pod| pod.named_port(port, protocol));
    match number.or_else(named) {
        Some(number) => Ok((party, number, protocol)),
        None => Err(UsageError(format!(
            "`--to {text}`: `{port}` is neither a port number (1 to 65535) nor the name of a {protocol} port of that pod"
        ))),
    }
}

/// An address, with or without the brackets that IPv6 needs before a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

/// No separator of the syntax; whether such an object exists is looked up.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', ':', ' '])
}

fn party(snapshot: &Snapshot, address: IpAddr) -> Result<Party<'_>, UsageError> {
    match snapshot.owner_of(address) {
        Some(AddressOwner::Service(service)) => Err(is_service(snapshot, service, &address.to_string())),
        _ => Ok(Party::Address(address).resolve(snapshot)),
    }
}

fn pod<'a>(snapshot: &'a Snapshot, namespace: &str, name: &str) -> Result<&'a Pod, UsageError> {
    if let Some(pod) = snapshot.pod(namespace, name) {
        return Ok(pod);
    }
    if let Some(service) = snapshot.service(namespace, name) {
        return Err(is_service(snapshot, service, &format!("{namespace}/{name}")));
    }
    let known = snapshot.pods_in(namespace);
    if known.clone().next().is_none() {
        return Err(UsageError(format!(
            "no pod `{namespace}/{name}`: the cluster state holds no pod in namespace {namespace}"
        )));
    }
    // Pods that begin alike are those of the workload that was meant.
    let mut names: Vec<_> = known.map(|pod| pod.metadata.name.as_str()).collect();
    names.sort_by_key(|known| (!known.starts_with(name), *known));
    names.dedup();
    let more = if names.len() > LISTED { ", …" } else { "" };
    names.truncate(LISTED);
    Err(UsageError(format!("no pod `{namespace}/{name}`; pods in namespace {namespace}: {}{more}", names.join(", "))))
}

/// Policies see a connection after the Service's address was translated to a pod's.
fn is_service(snapshot: &Snapshot, service: &Service, given: &str) -> UsageError {
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let endpoints = snapshot.endpoints(service);
    let mut pods: Vec<_> = endpoints
        .ready
        .iter()
        .chain(&endpoints.not_ready)
        .filter_map(|endpoint| {
            let pod = endpoint.pod.as_ref()?;
            Some(
                endpoint
                    .ports
                    .first()
                    .map_or(format!("{namespace}/{pod}"), |port| format!("{namespace}/{pod}:{}", port.port)),
            )
        })
        .collect();
    pods.dedup();
    pods.truncate(LISTED);
    let hint = if pods.is_empty() { "it has no known endpoint".to_owned() } else { format!("try {}", pods.join(", ")) };
    UsageError(format!("`{given}` is Service {namespace}/{name}; policies apply to the pods behind it: {hint}"))
}
