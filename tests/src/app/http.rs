//! As much HTTP/1.1 as the application and the client need.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

/// Headers that identify a request across services.
pub const ID_HEADERS: [&str; 2] = ["x-request-id", "traceparent"];

#[derive(Debug)]
pub struct Request {
    pub path: String,
    pub query: String,
    pub ids: Vec<(String, String)>,
    pub keep_alive: bool,
}

/// The request at the start of `bytes` and its length, or nothing while it is incomplete.
pub fn parse_request(bytes: &[u8]) -> Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes)? else { return Ok(None) };
    let target = request.path.context("a request without a target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let length = head + content_length(request.headers).unwrap_or(0);
    if bytes.len() < length {
        return Ok(None);
    }
    let ids = (request.headers.iter())
        .filter(|h| ID_HEADERS.iter().any(|id| h.name.eq_ignore_ascii_case(id)))
        .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
        .collect();
    let connection = header(request.headers, "connection").unwrap_or_default();
    let keep_alive = request.version == Some(1) && !connection.eq_ignore_ascii_case("close");
    Ok(Some((Request { path: path.to_owned(), query: query.to_owned(), ids, keep_alive }, length)))
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub keep_alive: bool,
}

/// The response at the start of `bytes`, or nothing while it is incomplete; `ended` says the peer has closed.
pub fn parse_response(bytes: &[u8], ended: bool) -> Result<Option<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else { return Ok(None) };
    let Some(status) = response.code else { bail!("a response without a status") };
    let chunked = header(response.headers, "transfer-encoding").is_some();
    let length = content_length(response.headers);
    let complete = match length {
        Some(length) => bytes.len() >= head + length,
        None if chunked => bytes.ends_with(b"0\r\n\r\n"),
        None => ended,
    };
    let connection = header(response.headers, "connection").unwrap_or_default();
    let keep_alive = !connection.eq_ignore_ascii_case("close") && (length.is_some() || chunked);
    Ok(complete.then_some(Response { status, keep_alive }))
}

#[must_use]
pub fn request_bytes(host: &str, target: &str, headers: &[(String, String)], keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

#[must_use]
pub fn response_bytes(status: u16, body: &str, headers: &BTreeMap<String, String>, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let length = body.len();
    let mut head = format!("HTTP/1.1 {status} S\r\nContent-Length: {length}\r\nConnection: {connection}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.push_str(body);
    head.into_bytes()
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}

fn content_length(headers: &[httparse::Header<'_>]) -> Option<usize> {
    header(headers, "content-length")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_complete_with_its_body_only() {
        let bytes = b"POST /a?b=c HTTP/1.1\r\nX-Request-Id: 7\r\nContent-Length: 2\r\n\r\nhi";
        assert!(parse_request(&bytes[..bytes.len() - 1]).unwrap().is_none());
        let (request, length) = parse_request(bytes).unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.query.as_str(), length), ("/a", "b=c", bytes.len()));
        assert_eq!(request.ids, [("X-Request-Id".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn a_response_without_length_ends_with_the_connection() {
        let bytes = b"HTTP/1.1 502 Bad Gateway\r\n\r\nhtml";
        assert!(parse_response(bytes, false).unwrap().is_none());
        assert_eq!(parse_response(bytes, true).unwrap().unwrap().status, 502);
    }
}
