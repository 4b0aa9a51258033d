//! Attributes by OpenTelemetry's semantic conventions; what they have no name for begins with `tracer.`.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use crate::event::Role;
use crate::verdict::{Hop, Incident, SymptomKind};

/// A text as a value.
pub(super) fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

/// `key: value`.
pub(super) fn string(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..KeyValue::default() }
}

fn int(key: &str, value: i64) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::IntValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn double(key: &str, value: f64) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::DoubleValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// What a hop was asked and how it went.
pub(super) fn hop_attributes(hop: &Hop, role: Role) -> Vec<KeyValue> {
    let mut found = Vec::new();
    let answered = status(hop);
    if let Some((method, path)) = &hop.request {
        found.push(string("http.request.method", method));
        found.push(string("url.scheme", "http"));
        found.push(string("network.protocol.version", "1.1"));
        found.push(string("url.path", path));
    }
    if let Some(status) = answered {
        found.push(int("http.response.status_code", i64::from(status)));
    }
    found.extend(error_type(hop, role).map(|error| string("error.type", &error)));
    let address = hop.address.as_deref().and_then(|address| address.parse::<SocketAddr>().ok());
    if let Some(address) = address {
        // A name as resolvers know it: `cart.shop` of the Service `shop/cart`.
        let service = || hop.service.as_ref()?.split_once('/').map(|(namespace, name)| format!("{name}.{namespace}"));
        let name = hop.name.clone().or_else(service).unwrap_or_else(|| address.ip().to_string());
        found.push(string("server.address", &name));
        found.push(int("server.port", i64::from(address.port())));
        found.push(string("network.peer.address", &address.ip().to_string()));
        found.push(string("network.transport", if hop.udp { "udp" } else { "tcp" }));
    }
    if let Some(link) = hop.link {
        found.push(string("tracer.link", link.name()));
    }
    found
}

/// What a hop answered.
pub(super) fn status(hop: &Hop) -> Option<u16> {
    hop.outcome.as_deref().and_then(|outcome| outcome.parse().ok())
}

/// The status as text, or one of few words: `docs/agent.md` lists them.
fn error_type(hop: &Hop, role: Role) -> Option<String> {
    if let Some(status) = status(hop) {
        return role.error_type(status);
    }
    let outcome = hop.outcome.as_deref()?;
    let word = hop.silence.unwrap_or(match outcome {
        "reset" => "connection_reset",
        "no answer" => "no_response",
        "connect refused" => "connection_refused",
        "connect timed out" | "DNS timeout" => "timeout",
        "connect failed" => "unreachable",
        "no local port" => "no_source_port",
        "TLS handshake failed" => "tls_handshake_failed",
        _ => "_OTHER",
    });
    Some(word.to_owned())
}

/// What was found out.
pub(super) fn incident_attributes(incident: &Incident) -> Vec<KeyValue> {
    let cause = &incident.cause;
    let kind = serde_json::to_value::<SymptomKind>(incident.symptom.kind).unwrap_or_default();
    let mut found = vec![
        string("tracer.incident.id", &incident.id),
        string("tracer.symptom", kind.as_str().unwrap_or_default()),
        string("tracer.cause", &cause.id),
        double("tracer.confidence", cause.confidence),
        string("tracer.summary", &cause.summary),
        int("tracer.count", i64::try_from(incident.count).unwrap_or(i64::MAX)),
    ];
    if let Some(origin) = &cause.origin {
        let parts = [
            ("tracer.origin.namespace", &origin.namespace),
            ("tracer.origin.workload", &origin.workload),
            ("tracer.origin.pod", &origin.pod),
            ("tracer.origin.service", &origin.service),
            ("tracer.origin.node", &origin.node),
            ("tracer.origin.address", &origin.address),
            ("tracer.origin.name", &origin.name),
        ];
        found.extend(parts.into_iter().filter_map(|(key, value)| Some(string(key, value.as_deref()?))));
    }
    found.extend(incident.next.first().map(|next| string("tracer.next", next)));
    found
}
