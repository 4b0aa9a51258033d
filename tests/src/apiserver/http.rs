//! Requests and answers, over a blocking socket.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
};

use serde_json::json;

use super::stream::Stream;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) target: String,
    pub(super) query: HashMap<String, String>,
    pub(super) token: Option<String>,
}

/// The next request of a connection; nothing at its end.
pub(super) fn read(connection: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some((request, length)) = parse(buffer)? {
            buffer.drain(..length);
            return Ok(Some(request));
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk)? {
            0 => return Ok(None),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    let target = request.path.unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), decoded(v)));
    let authorization = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("authorization"));
    let token = authorization.and_then(|header| std::str::from_utf8(header.value).ok()?.strip_prefix("Bearer "));
    let request = Request {
        path: path.to_owned(),
        query: query.collect(),
        token: token.map(str::to_owned),
        target: target.clone(),
    };
    Ok(Some((request, length)))
}

/// Percent-decoded, as `application/x-www-form-urlencoded`.
fn decoded(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let text = std::str::from_utf8(&digits).unwrap_or("00");
                u8::from_str_radix(text, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn answer(connection: &mut Stream, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes())?;
    connection.write_all(body.as_bytes())
}

pub(super) fn begin_chunks(connection: &mut Stream) -> io::Result<()> {
    connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
}

/// A line as a chunk of its own; an empty one ends the body.
pub(super) fn chunk(connection: &mut Stream, line: &str) -> io::Result<()> {
    if line.is_empty() {
        return connection.write_all(b"0\r\n\r\n");
    }
    connection.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes())
}

/// A chunk that ends before its time.
pub(super) fn broken_chunk(connection: &mut Stream, line: &str) -> io::Result<()> {
    connection.write_all(format!("{:x}\r\n{}", line.len() + 1, &line[..line.len() / 2]).as_bytes())
}

/// A `Status` object, as every error is.
pub(super) fn status(code: u16, retry_after: Option<u32>) -> String {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let mut status = object(code, reason, &format!("{reason}, as the test wants it"));
    if let Some(seconds) = retry_after {
        status["details"] = json!({"retryAfterSeconds": seconds});
    }
    status.to_string()
}

fn object(code: u16, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": message,
    })
}

/// A `Status` with a message of its own.
pub(super) fn failure(code: u16, reason: &str, message: &str) -> String {
    object(code, reason, message).to_string()
}

/// As the API server's authorizer says it.
pub(super) fn forbidden(verb: &str, resource: &str, namespace: &str) -> String {
    let message = format!(
        "{resource} is forbidden: User \"test\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"{namespace}\""
    );
    failure(403, "Forbidden", &message)
}
