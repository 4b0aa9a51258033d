//! Which bytes begin a message, and which request a status line answers.

use tracer::event::Outcome;

use super::net::{Net, answer, get, path_of};

const NO: Outcome = Outcome::Status(500);

#[test]
fn keep_alive() {
    let net = Net::new();
    let mut pair = net.pair();
    for (path, status) in [("/a", "200 OK"), ("/b", "500 No"), ("/c", "404 Not Found"), ("/d", "502 Bad Gateway")] {
        pair.request(&get(path));
        pair.respond(&answer(status, "body"));
    }
    drop(pair);
    net.assert_http(&[("/b", NO), ("/d", Outcome::Status(502))], &[("/a", 200), ("/c", 404)]);
    let numbers: Vec<_> = net.exchanges().iter().map(|it| it.number).collect();
    assert_eq!(numbers.iter().filter(|number| **number == 1).count(), 2, "{numbers:?}");
}

/// Requests in one segment; the second-last fails; responses in one or several segments.
#[test]
fn pipelining() {
    for count in 2..=4 {
        for together in [true, false] {
            let net = Net::new();
            let mut pair = net.pair();
            let paths: Vec<_> = (0..count).map(|n| format!("/p{n}")).collect();
            pair.request(&paths.iter().flat_map(|path| get(path)).collect::<Vec<_>>());
            let failing = count - 2;
            let replies: Vec<_> = (0..count)
                .map(|n| if n == failing { answer("500 No", "failed") } else { answer("200 OK", "fine") })
                .collect();
            if together {
                pair.respond(&replies.concat());
            } else {
                replies.iter().for_each(|reply| pair.respond(reply));
            }
            drop(pair);
            let good = (0..count).filter(|n| *n != failing).map(|n| (paths[n].as_str(), 200)).collect::<Vec<_>>();
            net.assert_http(&[(paths[failing].as_str(), NO)], &good);
        }
    }
}

#[test]
fn pipelined_bodies() {
    let net = Net::new();
    let mut pair = net.pair();
    let mut both = b"POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello".to_vec();
    both.extend(get("/two"));
    pair.request(&both);
    pair.respond(&[answer("200 OK", "fine"), answer("500 No", "no")].concat());
    drop(pair);
    net.assert_http(&[("/two", NO)], &[("/one", 200)]);
}

#[test]
fn byte_by_byte() {
    let net = Net::new();
    let mut pair = net.pair();
    get("/GET-P/HTTP/1.1").iter().for_each(|byte| pair.request(&[*byte]));
    answer("500 No", "no").iter().for_each(|byte| pair.respond(&[*byte]));
    pair.request(&get("/after"));
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    net.assert_http(&[("/GET-P/HTTP/1.1", NO)], &[("/after", 200)]);
}

#[test]
fn a_status_line_in_pieces() {
    for at in [1, 4, 7, 8, 9, 10, 11, 12, 13, 16] {
        let net = Net::new();
        let mut pair = net.pair();
        pair.request(&get("/split"));
        let reply = answer("503 Busy", "no");
        pair.respond(&reply[..at]);
        pair.respond(&reply[at..]);
        drop(pair);
        net.assert_http(&[("/split", Outcome::Status(503))], &[]);
    }
}

#[test]
fn interim_responses() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    for interim in [CONTINUE, HINTS] {
        for together in [true, false] {
            let net = Net::new();
            let mut pair = net.pair();
            pair.request(b"POST /upload HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
            if together {
                pair.respond(&[interim, interim, &answer("500 No", "no")].concat());
            } else {
                pair.respond(interim);
                pair.request(b"abc");
                pair.respond(&answer("500 No", "no"));
            }
            drop(pair);
            net.assert_http(&[("/upload", NO)], &[]);
        }
    }
}

#[test]
fn responses_without_bodies() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(b"HEAD /head HTTP/1.1\r\nHost: h\r\n\r\n");
    pair.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    pair.request(&get("/empty"));
    pair.respond(b"HTTP/1.1 204 No Content\r\n\r\n");
    pair.request(&get("/same"));
    pair.respond(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
    pair.request(&get("/last"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    // Pipelined, too: no body is skipped where there is none.
    let mut pair = net.pair();
    pair.request(&[b"HEAD /h2 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), get("/e2"), get("/f2")].concat());
    pair.respond(
        &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec(),
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            answer("500 No", "no"),
        ]
        .concat(),
    );
    drop(pair);
    net.assert_http(
        &[("/last", NO), ("/f2", NO)],
        &[("/head", 200), ("/empty", 204), ("/same", 304), ("/h2", 200), ("/e2", 204)],
    );
}

#[test]
fn chunked_bodies() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(b"POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    pair.request(b"5\r\nhello\r\n");
    pair.request(b"0\r\n\r\n");
    pair.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    pair.respond(b"13\r\nHTTP/1.1 500 No\r\n\r\n\r\n");
    pair.respond(b"0\r\n\r\n");
    pair.request(&get("/next"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    net.assert_http(&[("/next", NO)], &[("/chunks", 200)]);
}

#[test]
fn bodies_until_the_end() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(b"GET /old HTTP/1.0\r\n\r\n");
    pair.respond(b"HTTP/1.0 500 No\r\n\r\n");
    pair.respond(b"HTTP/1.1 503 not a status line\r\n");
    drop(pair);
    net.assert_http(&[("/old", NO)], &[]);
}

/// The server answers and the client still sends what looks like a request.
#[test]
fn an_early_answer() {
    let net = Net::new();
    let mut pair = net.pair();
    let body = b"POST /evil HTTP/1.1\r\nHost: evil\r\n\r\n....";
    pair.request(format!("POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    pair.respond(&answer("500 Too Large", "no"));
    pair.request(body);
    pair.request(&get("/next"));
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    net.assert_http(&[("/large", NO)], &[("/next", 200)]);
}

#[test]
fn a_body_that_looks_like_a_request() {
    let net = Net::new();
    let mut pair = net.pair();
    let body = b"POST /evil HTTP/1.1\r\nHost: evil\r\n\r\n";
    pair.request(format!("POST /good HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    pair.request(body);
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    net.assert_http(&[("/good", NO)], &[]);
}

#[test]
fn a_body_that_looks_like_a_response() {
    let net = Net::new();
    let mut pair = net.pair();
    let body = "HTTP/1.1 500 No\r\n\r\n";
    pair.request(&get("/fine"));
    pair.respond(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    pair.respond(body.as_bytes());
    pair.request(&get("/also"));
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    net.assert_http(&[], &[("/fine", 200), ("/also", 200)]);
}

/// The same while a pipelined request waits for its own answer.
#[test]
fn a_body_that_looks_like_a_response_with_another_request_waiting() {
    let body = "HTTP/1.1 500 No\r\n\r\n";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() * 2 + 3);
    for late in [false, true] {
        let net = Net::new();
        let mut pair = net.pair();
        if late {
            // Asked while the answer before is still on its way.
            pair.request(&get("/fine"));
            pair.respond(head.as_bytes());
            pair.request(&get("/also"));
        } else {
            pair.request(&[get("/fine"), get("/also")].concat());
            pair.respond(head.as_bytes());
        }
        pair.respond(b"...");
        pair.respond(body.as_bytes());
        pair.respond(body.as_bytes());
        pair.respond(&answer("200 OK", "fine"));
        drop(pair);
        net.assert_http(&[], &[("/fine", 200), ("/also", 200)]);
    }
}

/// A request behind another in one segment, on a connection that has carried single ones: found by its answer.
#[test]
fn glued_requests_later_on() {
    let net = Net::new();
    let mut pair = net.pair();
    for path in ["/a", "/b", "/c"] {
        pair.request(&get(path));
        pair.respond(&answer("200 OK", "fine"));
    }
    pair.request(&[get("/d"), get("/e"), get("/f")].concat());
    pair.respond(&answer("200 OK", "fine"));
    pair.respond(&answer("500 No", "no"));
    pair.respond(&answer("200 OK", "fine"));
    // From now on they are looked for.
    pair.request(&[get("/g"), get("/h")].concat());
    pair.respond(&[answer("200 OK", "fine"), answer("503 Busy", "no")].concat());
    pair.request(&get("/i"));
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    let good = ["/a", "/b", "/c", "/d", "/f", "/g", "/i"].map(|path| (path, 200));
    net.assert_http(&[("/e", NO), ("/h", Outcome::Status(503))], &good);
}

/// A body is no answer to a request that nobody sent.
#[test]
fn an_answer_without_a_request() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(b"POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    pair.respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    pair.respond(b"HTTP/1.1 500 No\r\n\r\n");
    pair.request(&get("/two"));
    pair.respond(&answer("200 OK", "fine"));
    drop(pair);
    net.assert_http(&[], &[("/one", 200), ("/two", 200)]);
}

#[test]
fn large_writes() {
    let net = Net::new();
    let mut pair = net.pair();
    let body = "x".repeat(64 << 10);
    for path in ["/big-one", "/big-two"] {
        pair.request(
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        );
        pair.respond(&answer("500 No", &body));
    }
    pair.request(&get("/small"));
    pair.respond(&answer("200 OK", &body));
    drop(pair);
    net.assert_http(&[("/big-one", NO), ("/big-two", NO)], &[("/small", 200)]);
    assert!(net.exchanges().iter().all(|it| !it.truncated), "the heads are whole");
}

#[test]
fn a_head_longer_than_what_is_kept() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(
        format!(
            "GET /cookies HTTP/1.1\r\nHost: h\r\nX-Request-Id: early\r\nCookie: {}\r\nb3: late-1\r\n\r\n",
            "c".repeat(4000)
        )
        .as_bytes(),
    );
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    net.assert_http(&[("/cookies", NO)], &[]);
    for exchange in net.exchanges() {
        assert!(exchange.truncated);
        assert_eq!(exchange.request.unwrap().ids, [("x-request-id".to_owned(), "early".to_owned())]);
    }
}

#[test]
fn upgrades_end_http() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(b"GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    pair.respond(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    pair.request(&get("/inside"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    net.assert_http(&[], &[("/socket", 101)]);
}

#[test]
fn tunnels_end_http() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(b"CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n");
    pair.respond(b"HTTP/1.1 200 Connection established\r\n\r\n");
    pair.request(&get("/inside"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    net.assert_http(&[], &[("db.example:443", 200)]);
}

/// IPv6 packets of more than 64 KiB, as a device may be told to take, have another header (RFC 2675) in kernels from 5.19 on.
#[test]
fn responses_in_jumbograms() {
    let (a, b) = (Net::new(), Net::new());
    a.sh(&format!("ip link add eth0 type veth peer name eth0 netns {}", b.path()));
    for (net, number) in [(&a, 1), (&b, 2)] {
        net.sh(&format!("ip addr add fd00:99::{number}/64 dev eth0 nodad && ip link set eth0 up"));
        // Where the kernel knows no such sizes the packets are smaller.
        net.sh("ip link set eth0 gso_max_size 200000 gro_max_size 200000 || true");
    }
    let mut pair = a.connect(&b.listen("fd00:99::2"));
    let body = "x".repeat(150_000);
    for round in 0..12 {
        pair.request(&get(&format!("/{round}")));
        // The window grows with every answer.
        pair.respond(&answer(if round < 8 { "200 OK" } else { "500 No" }, &body));
    }
    drop(pair);
    let paths: Vec<_> = (8..12).map(|round| format!("/{round}")).collect();
    for net in [&a, &b] {
        let told: Vec<_> = net.exchanges().iter().map(|it| (path_of(it).to_owned(), it.outcome)).collect();
        assert_eq!(told, paths.iter().map(|path| (path.clone(), NO)).collect::<Vec<_>>());
    }
}

/// Answers that are shorter than they announce, by who ends the connection, and when.
#[test]
fn broken_answers() {
    let broken = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let net = Net::new();
    let begin = |path: &str, answer: &[u8]| {
        let mut pair = net.pair();
        pair.request(&get(path));
        pair.respond(answer);
        pair
    };
    let by_server = |pair: super::net::Pair| {
        drop(pair.server);
        drop(pair.client);
    };
    by_server(begin("/closed", broken));
    by_server(begin("/whole", &answer("200 OK", "whole")));
    drop(begin("/left", broken));
    let stuck = begin("/stuck", broken);
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop(stuck);
    let all = ["/closed", "/whole", "/left", "/stuck"].map(|path| (path, 200));
    net.assert_http(&[("/closed", Outcome::Unanswered), ("/stuck", Outcome::Unanswered)], &all);
    assert!(net.exchanges().iter().all(|it| it.cut == Some(200) && !it.closed_idle));
}
