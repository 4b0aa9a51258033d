//! HTTP/1 heads (RFC 9112), reduced to what explains a failure.
//!
//! Redaction happens here, once: no query string, no header value other than those named below, no body. What is cut is
//! cut on a character boundary.

use std::str;

use httparse::{EMPTY_HEADER, Header, Request, Response};
use tracer_common::limits::FLIGHT_LINE;

use crate::event::{RequestHead, ResponseHead};

mod ids;
#[cfg(test)]
mod tests;

const PATH: usize = 128;
/// Enough to tell one server software from another.
const VALUE: usize = 64;
/// Headers looked at; what follows them is as if it had been cut off.
const HEADERS: usize = 64;

/// A parsed request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    pub head: T,
    /// The empty line was seen.
    pub complete: bool,
}

/// Parses the beginning of a request. `None` when it is no HTTP/1 request: then its first word was no method. A head that
/// is cut anywhere, or that turns strange behind its request line, gives what stood before.
pub fn request(bytes: &[u8]) -> Option<Parsed<RequestHead>> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    let result = request.parse(bytes);
    // The version ends the request line: with it, this is HTTP whatever follows.
    if result.is_err() && request.version.is_none() {
        return None;
    }
    let method = request.method?;
    let target = match request.path {
        Some(target) => target,
        None => cut_target(bytes, method),
    };
    let complete = result.is_ok_and(|status| status.is_complete());
    let path = redact(method, target);
    let mut head = RequestHead {
        method: method.to_owned(),
        path: cut(path, PATH).to_owned(),
        line_hash: line_hash(bytes),
        ..RequestHead::default()
    };
    for header in found(request.headers) {
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "upgrade" => head.upgrade = true,
            _ => {
                if let Some(id) = str::from_utf8(header.value).ok().and_then(|value| ids::id(&name, value)) {
                    head.ids.push((name, id));
                }
            }
        }
    }
    Some(Parsed { head, complete })
}

/// Parses the beginning of a response, as [`request`].
pub fn response(bytes: &[u8]) -> Option<Parsed<ResponseHead>> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut response = Response::new(&mut headers);
    let result = response.parse(bytes);
    if result.is_err() && response.code.is_none() {
        return None;
    }
    let complete = result.is_ok_and(|status| status.is_complete());
    let mut head = ResponseHead::default();
    for header in found(response.headers) {
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "server" => head.server = text(header, VALUE).map(str::to_owned),
            "retry-after" => head.retry_after = text(header, VALUE).map(str::to_owned),
            "content-length" => head.content_length = text(header, VALUE).and_then(|value| value.parse().ok()),
            // draft-ietf-httpapi-ratelimit-headers, and what was there before it.
            name if name == "ratelimit" || name.starts_with("ratelimit-") || name.starts_with("x-ratelimit-") => {
                head.rate_limit = true;
            }
            _ => {}
        }
    }
    Some(Parsed { head, complete })
}

/// Entries that the parser didn't reach have no name.
fn found<'h, 'b>(headers: &'h [Header<'b>]) -> impl Iterator<Item = &'h Header<'b>> {
    headers.iter().take_while(|header| !header.name.is_empty())
}

fn text<'b>(header: &Header<'b>, max: usize) -> Option<&'b str> {
    str::from_utf8(header.value).ok().map(str::trim).filter(|value| !value.is_empty()).map(|value| cut(value, max))
}

/// The target of a request line that is itself cut.
fn cut_target<'b>(bytes: &'b [u8], method: &str) -> &'b str {
    let rest = bytes.trim_ascii_start().get(method.len() + 1..).unwrap_or_default();
    let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    let rest = &rest[..end];
    match str::from_utf8(rest) {
        Ok(target) => target,
        // Valid up to there, so it can't fail again.
        Err(error) => str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// The path of a target (RFC 9112 section 3.2), or the authority of `CONNECT`.
fn redact<'t>(method: &str, target: &'t str) -> &'t str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    if method.eq_ignore_ascii_case("CONNECT") {
        return without_userinfo(target);
    }
    match target.split_once("://") {
        // A path may contain `://` too.
        Some((scheme, rest)) if !scheme.is_empty() && !scheme.contains('/') => {
            rest.find('/').map_or("/", |at| &rest[at..])
        }
        _ => target,
    }
}

/// `user:secret@host` is `host`.
fn without_userinfo(authority: &str) -> &str {
    authority.rsplit('@').next().unwrap_or_default()
}

/// At most `max` bytes of a text.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// FNV-1a (64 bit) of the request line, at most the bytes that a flight record keeps of it: so the same request has the
/// same hash however it was seen.
fn line_hash(bytes: &[u8]) -> u64 {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line = &line[..line.len().min(FLIGHT_LINE)];
    crate::fnv::fnv1a(line.iter().copied())
}
