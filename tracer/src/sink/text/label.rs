//! What things are called in one word.

use crate::sink::escape::escape;
use crate::verdict::{Hop, Link, Origin, Symptom, SymptomKind};

/// `namespace/pod`, or the best that is known.
pub(super) fn hop(hop: &Hop) -> String {
    if let Some(pod) = &hop.pod {
        return escape(&in_namespace(hop.namespace.as_deref(), pod)).into_owned();
    }
    let outside = hop.name.as_ref().map(|name| match &hop.address {
        Some(address) => format!("{name} ({address})"),
        None => name.clone(),
    });
    let service = hop.service.as_ref().map(|service| with_port(service, hop.address.as_deref()));
    let known = service
        .or(outside)
        .or_else(|| hop.process.as_ref().map(|process| format!("process {process}")))
        .or_else(|| hop.address.clone())
        .or_else(|| hop.node.as_ref().map(|node| format!("node {node}")))
        .or_else(|| hop.workload.clone())
        .unwrap_or_else(|| "?".to_owned());
    escape(&known).into_owned()
}

/// What was called to get to a hop: shown beside its name where it says more.
pub(super) fn called(hop: &Hop) -> Option<String> {
    let service = hop.service.as_ref().filter(|_| hop.pod.is_some())?;
    Some(format!("(svc {})", escape(service)))
}

/// What to look at first.
pub(super) fn origin(origin: &Origin) -> String {
    let mut parts = Vec::new();
    if let Some(pod) = &origin.pod {
        parts.push(in_namespace(origin.namespace.as_deref(), pod));
    }
    if let Some(service) = &origin.service {
        parts.push(format!("svc {service}"));
    }
    if let (Some(process), None) = (&origin.process, &origin.pod) {
        parts.push(format!("process {process}"));
    }
    if let Some(node) = &origin.node {
        parts.push(format!("node {node}"));
    }
    if let Some(name) = &origin.name {
        parts.push(name.clone());
    }
    if let (Some(address), true) = (&origin.address, parts.is_empty() || origin.name.is_some()) {
        parts.push(address.clone());
    }
    if parts.is_empty() {
        parts.extend(origin.workload.clone());
    }
    escape(&parts.join(" · ")).into_owned()
}

/// The first words about an incident: the status, or what happened.
pub(super) fn symptom(symptom: &Symptom) -> String {
    let what = match symptom.status {
        Some(status) => status.to_string(),
        None => kind(symptom.kind).to_owned(),
    };
    let request = [symptom.method.as_deref(), symptom.path.as_deref()];
    let request: Vec<_> = request.into_iter().flatten().map(escape).collect();
    if request.is_empty() { what } else { format!("{what}  {}", request.join(" ")) }
}

fn kind(kind: SymptomKind) -> &'static str {
    match kind {
        SymptomKind::Http5xx => "5xx",
        SymptomKind::ConnectRefused => "connect refused",
        SymptomKind::ConnectTimeout => "connect timed out",
        SymptomKind::ConnectUnreachable => "unreachable",
        SymptomKind::Reset => "connection reset",
        SymptomKind::Drop => "packet dropped",
        SymptomKind::DnsTimeout => "DNS timeout",
        SymptomKind::DnsError => "DNS error",
        SymptomKind::TlsFailure => "TLS failure",
        SymptomKind::NoAnswer => "no answer",
    }
}

pub(super) fn link(link: Link) -> &'static str {
    match link {
        Link::Root => "root",
        Link::Header => "header",
        Link::Thread => "same thread",
        Link::Time => "time only",
    }
}

fn in_namespace(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn with_port(service: &str, address: Option<&str>) -> String {
    match address.and_then(|address| address.rsplit_once(':')) {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("{service}:{port}"),
        _ => service.to_owned(),
    }
}
