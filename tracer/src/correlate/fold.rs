//! Alike incidents are one: same method, path template, way of workloads, cause and origin.

use indexmap::IndexMap;

use super::{Correlator, Options, call::Call, keys::Keys, leaf::NO_LOCAL_PORT, nodes::node_of, symptom::OwnedChain};
use crate::{
    event::{Connect, Exchange, Ktime, Outcome, Role},
    verdict::{Cause, Hop, Incident, Judgement, Origin, Symptom, SymptomKind, cause, evidence, touches},
};

/// An incident that recurs is told again at most this often.
const AGAIN_NS: u64 = 1_000_000_000;
const INCIDENTS: usize = 5_000;
/// Of so many, those that recurred longest ago are forgotten at a time.
const FORGOTTEN: usize = INCIDENTS / 10;
/// Verdicts below this aren't asserted.
const THRESHOLD: f64 = 0.5;

#[derive(Debug)]
struct Entry {
    incident: Incident,
    keys: Keys,
    seen_at: Ktime,
    told_at: Ktime,
    dirty: bool,
}

/// The incidents so far, by id, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    entries: IndexMap<String, Entry>,
    pub(super) forgotten: u64,
}

impl Incidents {
    /// An occurrence at that wall-clock time, decided now.
    pub(super) fn add(&mut self, incident: Incident, now: Ktime, wall_ns: i64, out: &mut Vec<Incident>) {
        if let Some(entry) = self.entries.get_mut(&incident.id) {
            entry.incident.count += 1;
            if incident.last_seen > entry.incident.last_seen {
                entry.incident.last_seen = incident.last_seen;
            }
            if incident.first_seen < entry.incident.first_seen {
                entry.incident.first_seen = incident.first_seen;
            }
            entry.keys.add(&incident.path, wall_ns, &mut entry.incident.path);
            entry.incident.coverage = incident.coverage;
            entry.dirty = true;
            entry.seen_at = now;
            return;
        }
        if self.entries.len() >= INCIDENTS {
            self.forget(out);
        }
        out.push(incident.clone());
        let mut entry = Entry { incident, keys: Keys::default(), seen_at: now, told_at: now, dirty: false };
        entry.keys.add(&entry.incident.path.clone(), wall_ns, &mut entry.incident.path);
        self.entries.insert(entry.incident.id.clone(), entry);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Makes room. What hasn't been told of those that go is told.
    fn forget(&mut self, out: &mut Vec<Incident>) {
        let mut seen: Vec<Ktime> = self.entries.values().map(|entry| entry.seen_at).collect();
        let (_, limit, _) = seen.select_nth_unstable(FORGOTTEN);
        let (limit, before) = (*limit, self.entries.len());
        self.entries.retain(|_, entry| {
            let stays = entry.seen_at > limit;
            if !stays && entry.dirty {
                out.push(entry.incident.clone());
            }
            stays
        });
        self.forgotten += (before - self.entries.len()) as u64;
    }

    pub(super) fn update(&mut self, now: Ktime, all: bool, out: &mut Vec<Incident>) {
        for entry in self.entries.values_mut().filter(|e| e.dirty) {
            if all || now.saturating_sub(entry.told_at) >= AGAIN_NS {
                entry.dirty = false;
                entry.told_at = now;
                out.push(entry.incident.clone());
            }
        }
    }
}

/// Whether a hop or origin with that namespace, pod and Service is meant.
type Test<'a> = &'a dyn Fn(Option<&String>, Option<&String>, Option<&String>) -> bool;

impl Correlator {
    /// Builds the incident of a judged chain; none if it isn't of the selected things.
    pub(super) fn incident(&self, call: &Call, chain: OwnedChain, mut judgement: Judgement) -> Option<Incident> {
        if judgement.confidence < THRESHOLD && judgement.cause != cause::UNKNOWN {
            judgement.evidence.push(evidence(
                "confidence",
                None,
                format!("{} would be {:.2} certain: not asserted", judgement.cause, judgement.confidence),
            ));
            judgement.cause = cause::UNKNOWN;
            judgement.origin = None;
            judgement.summary = format!("seen, not explained ({})", judgement.summary);
        }
        if !chain.links.is_empty() {
            let names: Vec<&str> = chain.links.iter().map(|l| l.name()).collect();
            judgement.evidence.push(evidence("link", None, format!("linked by {}", names.join(" · "))));
        }
        if !self.is_selected(call.cgroup(), &chain.hops, judgement.origin.as_ref()) {
            return None;
        }
        let symptom = symptom(call, &chain);
        let origin = judgement.origin.clone().filter(|o| *o != Origin::default());
        let id = id(&symptom, &chain.hops, judgement.cause, origin.as_ref());
        let seen = crate::verdict::rfc3339(call.end(), self.wall_offset_ns());
        Some(Incident {
            id,
            first_seen: seen.clone(),
            last_seen: seen,
            count: 1,
            node: self.node(node_of(call.cgroup())),
            symptom,
            path: chain.hops,
            cause: Cause {
                id: judgement.cause.to_owned(),
                confidence: (judgement.confidence * 100.0).round() / 100.0,
                summary: judgement.summary,
                origin,
            },
            evidence: judgement.evidence,
            next: judgement.next,
            coverage: self.coverage(),
        })
    }

    fn is_selected(&self, cgroup: u64, hops: &[Hop], origin: Option<&Origin>) -> bool {
        let Some(Options { selection: wanted, .. }) = self.nodes.options_of(cgroup) else { return true };
        let any = |test: Test<'_>| {
            hops.iter().any(|h| test(h.namespace.as_ref(), h.pod.as_ref(), h.service.as_ref()))
                || origin.is_some_and(|o| test(o.namespace.as_ref(), o.pod.as_ref(), o.service.as_ref()))
        };
        let pod = |full: &String| {
            full.split_once('/').is_some_and(|(namespace, name)| {
                any(&|ns, pod, _| ns.is_some_and(|ns| ns == namespace) && pod.is_some_and(|p| p == name))
            })
        };
        wanted.namespace.as_ref().is_none_or(|namespace| touches(hops, origin, namespace))
            && wanted.pod.as_ref().is_none_or(pod)
            && wanted.service.as_ref().is_none_or(|name| any(&|_, _, service| service == Some(name)))
    }
}

fn symptom(call: &Call, chain: &OwnedChain) -> Symptom {
    let mut symptom = Symptom {
        kind: SymptomKind::NoAnswer,
        status: None,
        method: None,
        path: None,
        protocol: None,
        duration_ms: Some(super::descend::milliseconds(call.start(), call.end())),
        trace_id: None,
    };
    match call {
        Call::Exchange(x) => of_exchange(&mut symptom, x),
        Call::Connect(c) => symptom.kind = of_connect(c, chain),
        Call::Attempt(..) => symptom.kind = SymptomKind::ConnectUnreachable,
        Call::End(_, s) if s.handshake_failure().is_some() => symptom.kind = SymptomKind::TlsFailure,
        Call::End(_, s) => symptom.kind = if s.reset_received { SymptomKind::Reset } else { SymptomKind::NoAnswer },
        Call::Lookup(l) => {
            symptom.kind = match l.outcome {
                super::LookupOutcome::Timeout => SymptomKind::DnsTimeout,
                _ => SymptomKind::DnsError,
            }
        }
    }
    symptom
}

fn of_exchange(symptom: &mut Symptom, exchange: &Exchange) {
    symptom.protocol = Some("http/1.1".to_owned());
    if let Some(head) = &exchange.request {
        symptom.method = Some(head.method.clone());
        symptom.path = Some(head.path.clone());
        symptom.trace_id = head.ids.iter().find(|(name, _)| name == "traceparent").map(|(_, id)| id.clone());
    }
    match exchange.outcome {
        Outcome::Status(status) => {
            symptom.status = Some(status);
            symptom.kind = SymptomKind::Http5xx;
        }
        _ if exchange.role == Role::Client && exchange.reset_received => symptom.kind = SymptomKind::Reset,
        _ => {}
    }
}

fn of_connect(connect: &Connect, chain: &OwnedChain) -> SymptomKind {
    match chain.hops.last().and_then(|hop| hop.outcome.as_deref()) {
        Some("connect refused") => SymptomKind::ConnectRefused,
        Some("connect failed" | NO_LOCAL_PORT) => SymptomKind::ConnectUnreachable,
        _ if connect.error_soft != 0 => SymptomKind::ConnectUnreachable,
        _ => SymptomKind::ConnectTimeout,
    }
}

/// The same failure has the same id, live and replayed.
fn id(symptom: &Symptom, hops: &[Hop], cause: &str, origin: Option<&Origin>) -> String {
    let mut parts: Vec<String> = vec![
        cause.to_owned(),
        symptom.method.clone().unwrap_or_default(),
        symptom.path.as_deref().map(template).unwrap_or_default(),
        serde_json::to_string(&symptom.kind).unwrap_or_default(),
    ];
    parts.extend(hops.iter().map(hop_name));
    if let Some(o) = origin {
        parts.extend(
            [&o.namespace, &o.workload, &o.service, &o.name, &o.node]
                .into_iter()
                .map(|p| p.clone().unwrap_or_default()),
        );
        if o.workload.is_none() && o.service.is_none() && o.name.is_none() {
            parts.push(o.pod.clone().or_else(|| o.process.clone()).or_else(|| o.address.clone()).unwrap_or_default());
        }
    }
    format!("{:016x}", crate::fnv::fnv1a(parts.join("\u{1f}").bytes()))
}

fn hop_name(hop: &Hop) -> String {
    let namespace = hop.namespace.as_deref().unwrap_or_default();
    let name =
        [&hop.workload, &hop.pod, &hop.service, &hop.name, &hop.process, &hop.container].into_iter().flatten().next();
    match name {
        Some(name) => format!("{namespace}/{name}"),
        // Ports of clients differ from request to request.
        None => hop
            .address
            .as_deref()
            .map(|a| a.rsplit_once(':').map_or(a, |(host, _)| host).to_owned())
            .unwrap_or_default(),
    }
}

/// `/users/42/orders/9f8b…` as `/users/{id}/orders/{id}`.
pub(super) fn template(path: &str) -> String {
    let segment = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let hex = s.len() >= 8
            && s.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            && s.bytes().any(|b| b.is_ascii_digit());
        if digits || hex { "{id}".to_owned() } else { s.to_owned() }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn ids_in_paths_are_templated() {
        assert_eq!(template("/users/42/orders/9f8b0c1d-77aa"), "/users/{id}/orders/{id}");
        assert_eq!(template("/checkout"), "/checkout");
        assert_eq!(template("/feedface"), "/feedface");
    }
}
