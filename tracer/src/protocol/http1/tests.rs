//! Heads as they come, and as they shouldn't.

use rstest::rstest;

use super::*;

fn head(text: &str) -> RequestHead {
    request(text.as_bytes()).unwrap().head
}

#[rstest]
#[case::origin("GET /a/b?card=1#x HTTP/1.1", "/a/b")]
#[case::absolute("GET http://user:secret@shop.example:80/a?q HTTP/1.1", "/a")]
#[case::absolute_without_path("GET http://shop.example HTTP/1.1", "/")]
#[case::absolute_with_query_only("GET http://shop.example?q HTTP/1.1", "/")]
#[case::a_path_with_a_scheme("GET /redirect/http://other/x HTTP/1.1", "/redirect/http://other/x")]
#[case::authority("CONNECT db:5432 HTTP/1.1", "db:5432")]
#[case::asterisk("OPTIONS * HTTP/1.1", "*")]
fn targets(#[case] line: &str, #[case] path: &str) {
    let head = head(&format!("{line}\r\n\r\n"));
    assert_eq!(head.path, path);
}

#[rstest]
#[case(
    "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    Some("0af7651916cd43dd8448eb211c80319c")
)]
#[case("traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01", None)]
#[case("traceparent: garbage", None)]
#[case("b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1", Some("80f198ee56343ba864fe8b2a57d3eff7"))]
#[case("b3: 0", None)]
#[case("X-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124", Some("463ac35c9f6413ad48485a3953bb6124"))]
#[case("X-Request-ID: Abc-123", Some("Abc-123"))]
#[case("x-correlation-id: c1", Some("c1"))]
#[case(
    "X-Amzn-Trace-Id: Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678",
    Some("1-67891233-abcdef012345678912345678")
)]
#[case("uber-trace-id: 5b2b4e:1c:0:1", Some("5b2b4e"))]
#[case("uber-trace-id: 5b2b4e%3A1c%3A0%3A1", Some("5b2b4e"))]
#[case("X-Cloud-Trace-Context: 105445aa7843bc8bf206b12000100000/1;o=1", Some("105445aa7843bc8bf206b12000100000"))]
#[case("x-datadog-trace-id: 1234567890", Some("1234567890"))]
#[case("x-request-id: has spaces inside", None)]
#[case("authorization: Bearer secret", None)]
#[case("grpc-trace-bin: AAAB", None)]
fn ids(#[case] line: &str, #[case] id: Option<&str>) {
    let head = head(&format!("GET / HTTP/1.1\r\n{line}\r\n\r\n"));
    assert_eq!(head.ids.first().map(|(_, id)| id.as_str()), id);
    assert!(head.ids.iter().all(|(name, _)| *name == name.to_ascii_lowercase()));
}

#[test]
fn a_cut_head_gives_what_stood_before() {
    let whole = "GET /path HTTP/1.1\r\nHost: h\r\nX-Request-Id: r1\r\nCookie: long\r\n\r\n";
    for len in 0..whole.len() {
        let parsed = request(&whole.as_bytes()[..len]);
        if len <= 3 {
            // A method without its space may still be anything.
            assert!(parsed.is_none_or(|parsed| parsed.head.method.len() <= 3));
            continue;
        }
        let parsed = parsed.unwrap_or_else(|| panic!("{len}"));
        assert!(!parsed.complete && parsed.head.method == "GET");
        assert!("/path".starts_with(&parsed.head.path), "{len}: {}", parsed.head.path);
    }
    let cut = request(&whole.as_bytes()[..52]).unwrap().head;
    assert_eq!(cut.path, "/path");
    assert_eq!(cut.ids, [("x-request-id".to_owned(), "r1".to_owned())]);
    assert!(request(whole.as_bytes()).unwrap().complete);
}

#[test]
fn what_is_no_http() {
    for bytes in [&b"GET key\r\n"[..], b"GET \r\n", b"\x16\x03\x01", b"GET / FTP/1.1\r\n", b"*1\r\n$4\r\nPING\r\n", b""]
    {
        assert_eq!(request(bytes), None, "{bytes:?}");
    }
}

#[test]
fn strange_headers_keep_the_request_line() {
    let many: String = (0..100).map(|n| format!("h{n}: v\r\n")).collect();
    let strange =
        [format!("GET /a HTTP/1.1\r\n{many}\r\n"), "GET /a HTTP/1.1\r\nHost: h\r\nno colon here\r\n\r\n".to_owned()];
    for text in strange {
        let parsed = request(text.as_bytes()).unwrap();
        assert_eq!((parsed.head.path.as_str(), parsed.complete), ("/a", false));
    }
}

#[test]
fn long_values_are_cut_on_a_character_boundary() {
    let path = format!("/{}", "é".repeat(100));
    let head = head(&format!("GET {path} HTTP/1.1\r\n\r\n"));
    assert_eq!(head.path.len(), 127);
    let response = response(format!("HTTP/1.1 200 OK\r\nServer: {}\r\n\r\n", "s".repeat(500)).as_bytes()).unwrap();
    assert_eq!(response.head.server.unwrap().len(), 64);
}

#[test]
fn the_line_hash_is_that_of_what_a_flight_record_keeps() {
    let line = format!("GET /{}?q=1 HTTP/1.1", "a".repeat(200));
    let whole = request(format!("{line}\r\nHost: h\r\n\r\n").as_bytes()).unwrap().head;
    let cut = request(&line.as_bytes()[..FLIGHT_LINE]).unwrap().head;
    assert_eq!(whole.line_hash, cut.line_hash);
    // The published test vector of FNV-1a 64 for "foobar".
    assert_eq!(line_hash(b"foobar\r\nrest"), 0x8594_4171_f739_67e8);
    assert_ne!(head("GET /a?1 HTTP/1.1\r\n\r\n").line_hash, head("GET /a?2 HTTP/1.1\r\n\r\n").line_hash);
}

#[test]
fn responses() {
    let head = response(
        b"HTTP/1.1 429 Slow\r\nServer: nginx\r\nRetry-After: 5\r\nContent-Length: 12\r\nX-RateLimit-Limit: 3\r\n",
    )
    .unwrap()
    .head;
    assert_eq!((head.server.as_deref(), head.retry_after.as_deref()), (Some("nginx"), Some("5")));
    assert_eq!((head.content_length, head.rate_limit), (Some(12), true));
    assert!(response(b"HTTP/1.1 500 No").is_some_and(|parsed| !parsed.complete));
    assert_eq!(response(b"GET / HTTP/1.1\r\n\r\n"), None);
}

#[test]
fn total_on_garbage() {
    let seeds: [&[u8]; 2] =
        [b"GET /a?b HTTP/1.1\r\nHost: h\r\nb3: 1-2\r\n\r\n", b"HTTP/1.1 500 No\r\nServer: a\r\n\r\n"];
    let mut state = 7u64;
    for _ in 0..50_000 {
        for seed in seeds {
            let mut bytes = seed.to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 20) as u8;
            }
            bytes.truncate((state >> 40) as usize % (bytes.len() + 1));
            let _ = request(&bytes);
            let _ = response(&bytes);
        }
    }
}
