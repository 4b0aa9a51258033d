//! Incidents as OpenTelemetry has them: one trace for each, a span for each hop, and a log record.
//!
//! 1. The trace has the request's own id where it carried a `traceparent`; else one made from the first hop's key, which is
//!    the same on every node that saw that request.
//! 2. A hop's span has its pod as resource. What was only called (a connect, a lookup, a server elsewhere) is a client
//!    span of the one who called.
//! 3. A server elsewhere is linked to its span in the trace that its own node makes, unless both have the request's own id.

mod attributes;
mod ids;
mod resource;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span::Link, span::SpanKind, status::StatusCode,
};

use crate::event::Role;
use crate::verdict::{Hop, Incident};
use attributes::{hop_attributes, incident_attributes, text};

/// An incident to export.
#[derive(Clone, Debug)]
pub struct Item {
    pub incident: Incident,
    /// Added to the kernel's time for wall-clock time.
    pub wall_offset_ns: i64,
    /// It was exported before: its trace is known.
    pub again: bool,
}

/// The traces of new incidents.
pub fn traces(items: &[Item]) -> ExportTraceServiceRequest {
    let new = items.iter().filter(|item| !item.again);
    ExportTraceServiceRequest { resource_spans: new.flat_map(trace).collect() }
}

/// A record for each.
pub fn logs(items: &[Item]) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest { resource_logs: items.iter().map(log).collect() }
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "tracer".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    })
}

fn trace(item: &Item) -> Vec<ResourceSpans> {
    let incident = &item.incident;
    let trace_id = ids::trace(incident);
    let mut parent = Vec::new();
    let last = incident.path.len().saturating_sub(1);
    let seen = nanoseconds(&incident.first_seen);
    let mut spans = Vec::with_capacity(incident.path.len());
    for (index, hop) in incident.path.iter().enumerate() {
        let caller = index.checked_sub(1).and_then(|before| incident.path.get(before));
        let role = role(hop, caller);
        let owner = caller.filter(|_| role == Role::Client).unwrap_or(hop);
        let wall = |at: u64| u64::try_from(at as i64 + item.wall_offset_ns).unwrap_or_default();
        let (start, end) = hop.times.map_or((seen, seen), |(start, end)| (wall(start), wall(end)));
        let mut attributes = hop_attributes(hop, role);
        if index == last || index == 0 {
            attributes.extend(incident_attributes(incident));
        }
        let id = ids::span(incident, hop, index);
        let span = Span {
            trace_id: trace_id.clone(),
            span_id: id.clone(),
            parent_span_id: std::mem::replace(&mut parent, id),
            name: name(hop).to_owned(),
            kind: if role == Role::Client { SpanKind::Client } else { SpanKind::Server }.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end.max(start),
            attributes,
            status: Some(status(incident, hop, role, index == last)),
            links: link(incident, hop, &trace_id),
            ..Span::default()
        };
        spans.push(ResourceSpans {
            resource: Some(resource::of(owner, incident)),
            scope_spans: vec![ScopeSpans { scope: scope(), spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        });
    }
    spans
}

/// Whose end of the hop its span tells: the caller's, where nothing was seen but the call.
fn role(hop: &Hop, caller: Option<&Hop>) -> Role {
    let unserved = if caller.is_some() { attributes::status(hop).is_none() } else { hop.key.is_none() };
    if hop.elsewhere || unserved { Role::Client } else { Role::Server }
}

/// `{method}`, as low-cardinality names of HTTP spans are without a route; what happened for anything else.
fn name(hop: &Hop) -> &str {
    match (&hop.request, &hop.outcome) {
        (Some((method, _)), _) => method,
        (None, Some(_)) if attributes::status(hop).is_some() => "HTTP",
        (None, Some(outcome)) => outcome,
        (None, None) => "call",
    }
}

fn status(incident: &Incident, hop: &Hop, role: Role, last: bool) -> Status {
    let failed = attributes::status(hop).is_none_or(|status| role.error_type(status).is_some()) || last;
    Status {
        code: if failed { StatusCode::Error } else { StatusCode::Unset }.into(),
        message: if last { incident.cause.summary.clone() } else { String::new() },
    }
}

/// The span of a server in the cluster, in the trace that its own node makes, where that isn't this one.
fn link(incident: &Incident, hop: &Hop, own: &[u8]) -> Vec<Link> {
    let observed = hop.elsewhere && (hop.pod.is_some() || hop.service.is_some());
    let key = hop.key.as_deref().filter(|_| observed && ids::given(incident).is_none());
    let elsewhere = key.map(|key| (ids::trace_of_key(key), ids::span_of_server(key)));
    let link = |(trace_id, span_id): (Vec<u8>, Vec<u8>)| Link { trace_id, span_id, ..Link::default() };
    elsewhere.filter(|(trace_id, _)| trace_id != own).map(link).into_iter().collect()
}

fn log(item: &Item) -> ResourceLogs {
    let incident = &item.incident;
    let root = incident.path.first();
    let mut attributes: Vec<KeyValue> = incident_attributes(incident);
    if let Some(hop) = root {
        attributes.extend(hop_attributes(hop, role(hop, None)));
    }
    let record = LogRecord {
        time_unix_nano: nanoseconds(&incident.last_seen),
        observed_time_unix_nano: nanoseconds(&incident.last_seen),
        severity_number: SeverityNumber::Error.into(),
        severity_text: "ERROR".to_owned(),
        event_name: "tracer.incident".to_owned(),
        body: text(&incident.cause.summary),
        attributes,
        trace_id: ids::trace(incident),
        span_id: root.map(|hop| ids::span(incident, hop, 0)).unwrap_or_default(),
        ..LogRecord::default()
    };
    // Whose log it is: where it arose.
    let origin = incident.path.last().cloned().unwrap_or_default();
    ResourceLogs {
        resource: Some(resource::of(&origin, incident)),
        scope_logs: vec![ScopeLogs { scope: scope(), log_records: vec![record], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

/// RFC 3339 to nanoseconds since the Unix epoch.
fn nanoseconds(time: &str) -> u64 {
    let parsed = time.parse::<jiff::Timestamp>().ok();
    parsed.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
