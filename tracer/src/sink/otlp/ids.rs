//! Trace and span ids: those of the request, or made of what every node sees alike.

use crate::fnv::fnv1a;
use crate::verdict::{Hop, Incident};

/// The trace that the request belongs to by its own word.
pub(super) fn given(incident: &Incident) -> Option<Vec<u8>> {
    incident.symptom.trace_id.as_deref().and_then(hex)
}

/// The request's trace, or that of its first hop's key, or of this very incident.
pub(super) fn trace(incident: &Incident) -> Vec<u8> {
    if let Some(id) = given(incident) {
        return id;
    }
    match incident.path.iter().find_map(|hop| hop.key.as_deref()) {
        Some(key) => trace_of_key(key),
        None => hashed(&[&incident.id, &incident.first_seen], 2),
    }
}

pub(super) fn trace_of_key(key: &str) -> Vec<u8> {
    hashed(&["trace", key], 2)
}

/// Each end of a hop is seen on one node only, so no two nodes give the same.
pub(super) fn span(incident: &Incident, hop: &Hop, index: usize) -> Vec<u8> {
    match &hop.key {
        Some(key) if hop.elsewhere => hashed(&["call", key], 1),
        Some(key) => span_of_server(key),
        None => {
            let node = incident.node.as_deref().unwrap_or_default();
            hashed(&["hop", node, &incident.id, &incident.first_seen, &index.to_string()], 1)
        }
    }
}

/// The span that the server's node gives.
pub(super) fn span_of_server(key: &str) -> Vec<u8> {
    hashed(&["span", key], 1)
}

/// So many words of eight bytes; never zeros, which mean no id.
fn hashed(parts: &[&str], words: u8) -> Vec<u8> {
    let word = |word: u8| {
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0x1f]));
        fnv1a(bytes.chain([word])).max(1).to_be_bytes()
    };
    (0..words).flat_map(word).collect()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 32 {
        return None;
    }
    (0..16).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}
