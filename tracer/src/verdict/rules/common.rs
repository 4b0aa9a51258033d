//! What several rules say alike.

use std::net::SocketAddr;

use crate::{
    correlate::{
        Chain, ConnectLeaf, ECONNREFUSED, Identity, LookupLeaf, LookupOutcome, ServerLeaf, Target, Who, pid,
        service_name,
    },
    event::{Drop, Exchange, Outcome, Process},
    k8s::model::{Pod, Protocol},
    verdict::{Context, Evidence, Origin, evidence},
};

/// The target as an origin: the pod where exactly one is meant, the Service beside it, the address and name outside.
pub(super) fn target_origin(target: &Target<'_>) -> Origin {
    let mut origin = target.who.as_ref().map(Who::origin).unwrap_or_default();
    origin.service = target.service.map(service_name);
    origin.address = target.backend.or(target.address).map(|a| a.to_string());
    if !target.inside {
        origin.name.clone_from(&target.name);
    }
    origin
}

/// What a target is called in a sentence.
pub(super) fn target_label(target: &Target<'_>) -> String {
    let address = target.address.map(|a| a.to_string()).unwrap_or_default();
    match (&target.who, target.service, &target.name) {
        (Some(who), _, _) if who.is_pod() => who.label(),
        (_, Some(service), _) => service_name(service),
        (_, _, Some(name)) => format!("{name} ({address})"),
        (Some(who), _, _) if *who != Who::default() => format!("{} ({address})", who.label()),
        _ => address,
    }
}

/// A pod as an origin.
pub(super) fn pod_origin(context: &Context<'_>, pod: &Pod) -> Origin {
    Identity::who_pod(context.snapshot, pod).origin()
}

pub(super) fn exchange_evidence(context: &Context<'_>, who: &str, exchange: &Exchange) -> Evidence {
    let what = exchange.request.as_ref().map(|h| format!("{} {}", h.method, h.path)).unwrap_or_default();
    let ms = exchange.end_ns.saturating_sub(exchange.start_ns) / 1_000_000;
    let text = match exchange.outcome {
        Outcome::Unanswered | Outcome::Open if exchange.cut.is_some() => {
            let status = exchange.cut.unwrap_or_default();
            format!("the answer of {who} to {what}, {status}, wasn't complete after {ms} ms; then the connection ended")
        }
        Outcome::Status(status) => format!("{who} answered {status} to {what} after {ms} ms"),
        Outcome::Unanswered => format!("{who} did not answer {what} within {ms} ms; then the connection ended"),
        Outcome::Open => format!("{who} has not answered {what} for {ms} ms"),
    };
    let mut found = evidence("exchange", context.at(exchange.end_ns), text);
    if let Some(status) = exchange.status() {
        found = found.with("status", status);
    }
    found
}

/// Calls that may have been, and can't be read.
pub(super) fn opaque_evidence(leaf: &ServerLeaf) -> Option<Evidence> {
    let opaque = leaf.opaque.as_ref()?;
    let to = if opaque.is_empty() { "many places".to_owned() } else { opaque.join(", ") };
    let text = format!("meanwhile it used connections that can't be read (TLS, HTTP/2 or no HTTP), to {to}");
    Some(evidence("exchange", None, text))
}

/// Where an application may be that a proxy has handed the request to unseen, by a Unix socket: told of one that wasn't seen
/// to relay by HTTP.
pub(super) fn socket_evidence(chain: &Chain<'_>, leaf: &ServerLeaf) -> Option<Evidence> {
    let paths = &chain.around.resources.as_ref()?.unix_sockets;
    let told = leaf.proxy.is_some() && !leaf.relays && !paths.is_empty();
    told.then(|| {
        let text = format!("an application may be behind a Unix socket there: {}", paths.join(", "));
        evidence("listener", None, text).with("paths", paths.clone())
    })
}

pub(super) fn connect_evidence(context: &Context<'_>, leaf: &ConnectLeaf<'_>) -> Evidence {
    let c = &leaf.connect;
    let ms = c.end_ns.saturating_sub(c.start_ns) / 1_000_000;
    let text = if c.syn_retransmits > 0 || c.open || ms >= 900 {
        format!("{} → {}: SYN sent {}×, no answer in {ms} ms", c.local, c.remote, c.syn_retransmits + 1)
    } else if c.reset {
        format!("{} → {}: refused with an RST after {ms} ms", c.local, c.remote)
    } else {
        format!("{} → {}: failed after {ms} ms", c.local, c.remote)
    };
    evidence("connect", context.at(c.end_ns), text)
        .with("errno", c.error)
        .with("syn_retransmits", c.syn_retransmits)
        .with("caller", leaf.caller.label())
}

/// Whether the target itself refused. An RST without its own refusal, but with a drop on the way, was forged by a filter.
pub(super) fn is_refused(leaf: &ConnectLeaf<'_>) -> bool {
    let refused = leaf.connect.reset || leaf.connect.error == ECONNREFUSED;
    refused && leaf.icmp.is_none() && (leaf.refusal.is_some() || leaf.drops.is_empty())
}

/// What was asked of which resolver, how it ended, and what it cost.
pub(super) fn lookup_evidence(context: &Context<'_>, leaf: &LookupLeaf<'_>) -> Evidence {
    let lookup = &leaf.lookup;
    let (questions, retries, ms) = (lookup.questions.len(), lookup.retries(), lookup.wasted_ms());
    let outcome = match lookup.outcome {
        LookupOutcome::Timeout if leaf.icmp.is_some() => "rejected".to_owned(),
        LookupOutcome::Timeout => "no answer".to_owned(),
        LookupOutcome::Answered => rcode(0),
        LookupOutcome::NoSuchName => rcode(3),
        LookupOutcome::ServerFailure(code) => rcode(code),
    };
    let (asker, resolver, name) = (leaf.asker.label(), lookup.resolver, &lookup.name);
    let text =
        format!("{asker} asked {resolver} for {name}: {outcome}; {questions} questions, {retries} retries, {ms} ms");
    evidence("dns", context.at(lookup.end_ns), text)
        .with("name", name.as_str())
        .with("resolver", resolver.to_string())
        .with("outcome", outcome)
        .with("questions", questions)
        .with("retries", retries)
        .with("wasted_ms", ms)
}

/// RFC 1035 section 4.1.1.
pub(super) fn rcode(code: u8) -> String {
    match code {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("RCODE {other}"),
    }
}

pub(super) fn drop_evidence(context: &Context<'_>, at: u64, drop: &Drop, pod: Option<&Pod>) -> Evidence {
    let place = place(drop, pod);
    let reason = drop.reason.as_deref().or(drop.location.as_deref()).unwrap_or("dropped");
    let hook = drop.hook.as_deref().map(|h| format!(", {h}")).unwrap_or_default();
    let what = match drop.protocol {
        6 if drop.tcp_flags & 0x12 == 0x12 => "SYN-ACK",
        6 if drop.tcp_flags & 2 != 0 => "SYN",
        6 => "segment",
        _ => "datagram",
    };
    let text = format!("{what} {} → {} dropped {place} ({reason}{hook})", drop.source, drop.destination);
    let mut found = evidence("drop", context.at(at), text);
    for (name, value) in [
        ("reason", &drop.reason),
        ("hook", &drop.hook),
        ("mechanism", &drop.mechanism),
        ("device", &drop.device),
        ("location", &drop.location),
    ] {
        if let Some(value) = value {
            found = found.with(name, value.as_str());
        }
    }
    found.with("netns", context.nodes.inode(drop.netns))
}

fn place(drop: &Drop, pod: Option<&Pod>) -> String {
    let device = drop.device.as_deref().filter(|d| !d.is_empty()).map(|d| format!(" at {d}")).unwrap_or_default();
    match pod {
        Some(pod) => format!("in {}'s network namespace{device}", pod.metadata.name),
        None => format!("in the node's network namespace{device}"),
    }
}

pub(super) fn death_evidence(context: &Context<'_>, at: u64, process: &Process) -> Evidence {
    let how = match (process.oom_victim, process.signal, process.exit_code) {
        (true, _, _) => "was chosen by the kernel's OOM killer".to_owned(),
        (_, Some(signal), _) => format!("was killed by signal {signal}{}", signal_name(signal)),
        (_, _, Some(code)) => format!("exited with code {code}"),
        _ => "ended".to_owned(),
    };
    let text = format!("process {} ({}) {how}", pid(process.tgid), process.comm);
    evidence("process", context.at(at), text).with("pid", pid(process.tgid)).with("comm", process.comm.as_str())
}

fn signal_name(signal: u32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// The server's pod as origin, with the Service it was called through.
pub(super) fn server_origin(leaf: &ServerLeaf, service: Option<String>) -> Origin {
    let mut origin = leaf.who.origin();
    origin.service = service;
    origin.address = Some(leaf.exchange.local.to_string());
    origin
}

pub(super) fn logs_command(origin: &Origin) -> Option<String> {
    let (namespace, pod) = (origin.namespace.as_ref()?, origin.pod.as_ref()?);
    let container = origin.container.as_ref().map(|c| format!(" -c {c}")).unwrap_or_default();
    Some(format!("kubectl -n {namespace} logs {pod}{container} --since=5m"))
}

/// The flow of a connect as policies see it: from pod to pod, on the port behind the Service.
pub(super) fn flow_port(drops: &[(u64, Drop)], target: &Target<'_>, remote: SocketAddr, local: SocketAddr) -> u16 {
    let dropped = drops.iter().find(|(_, d)| d.source == local).map(|(_, d)| d.destination.port());
    dropped.or_else(|| target.backend.map(|b| b.port())).unwrap_or_else(|| remote.port())
}

pub(super) fn protocol_of(drop: &Drop) -> Protocol {
    Protocol::from_ip_number(drop.protocol).unwrap_or(Protocol::Tcp)
}
