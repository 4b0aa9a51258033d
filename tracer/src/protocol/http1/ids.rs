//! Ids that travel from an inbound request to the outbound calls made for it.

/// Longer values are no ids; they aren't kept.
const LONGEST: usize = 128;

/// The id in a header (lower-case name), if it is one that carries an id: the part that is the same in every call of one
/// request. Span ids, flags and sampling decisions differ between the calls and are left out.
pub(super) fn id(name: &str, value: &str) -> Option<String> {
    let value = value.trim();
    let id = match name {
        // W3C trace context: version-trace-parent-flags.
        "traceparent" => value.split('-').nth(1).filter(|id| id.len() == 32 && is_hex(id)),
        // Zipkin's single header: trace-span-sampled-parent, or only a sampling decision.
        "b3" => value.split_once('-').map(|(trace, _)| trace),
        "x-b3-traceid" | "x-request-id" | "x-correlation-id" | "x-datadog-trace-id" => Some(value),
        // AWS: `Root=1-…;Parent=…;Sampled=1` in any order.
        "x-amzn-trace-id" => value.split(';').find_map(|part| part.trim().strip_prefix("Root=")),
        // Jaeger: trace:span:parent:flags; some clients encode the colons.
        "uber-trace-id" => value.split([':', '%']).next(),
        // Google: TRACE/SPAN;o=OPTIONS.
        "x-cloud-trace-context" => value.split(['/', ';']).next(),
        _ => None,
    }?;
    // Zeros mean that there is none.
    let usable = !id.is_empty() && id.len() <= LONGEST && id.bytes().all(|byte| byte.is_ascii_graphic());
    (usable && id.bytes().any(|byte| !matches!(byte, b'0' | b'-'))).then(|| {
        // Hexadecimal ids are the same in either case; what an application calls a request needn't be.
        if is_hex(id) { id.to_ascii_lowercase() } else { id.to_owned() }
    })
}

fn is_hex(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
