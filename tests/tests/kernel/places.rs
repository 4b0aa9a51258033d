//! Where records of connections and heads are kept: at a place that the socket's address gives, or in a hash where that is taken.

use std::collections::BTreeMap;
use std::time::Instant;

use tracer::event::{Outcome, Role};
use tracer_common::conn::conn_flag;

use super::net::{Net, answer, get, path_of};
use super::observer::{PATIENCE, observer};

/// Of so many, about every tenth finds its place taken.
const CROWD: usize = 250;

#[test]
fn connections_whose_place_is_taken() {
    let net = Net::new();
    let mut pairs: Vec<_> = (0..CROWD).map(|_| net.pair()).collect();
    let inode = net.inode;
    let records =
        move || observer().ask(move |kernel| kernel.tables.connections(|conn| conn.tuple.netns == inode).unwrap());
    let found = records();
    let direct = found.iter().filter(|(_, conn)| conn.flags & conn_flag::DIRECT != 0).count();
    assert_eq!(found.len(), 2 * CROWD);
    assert!((CROWD..2 * CROWD).contains(&direct), "{direct} have a place of their own");
    for (sock, conn) in &found {
        let sock = *sock;
        let one = observer().ask(move |kernel| kernel.tables.connection(sock).unwrap());
        assert_eq!(one.map(|one| one.born_ns), Some(conn.born_ns));
    }
    for pair in &mut pairs {
        pair.request(&get("/first"));
        pair.respond(&answer("200 OK", "fine"));
    }
    for (number, pair) in pairs.iter_mut().enumerate() {
        pair.request(&[get(&format!("/second-{number}")), get("/third")].concat());
        pair.respond(&[answer("503 Busy", "no"), answer("200 OK", "fine")].concat());
    }
    drop(pairs);
    let exchanges = net.exchanges();
    for role in [Role::Client, Role::Server] {
        let mut told: Vec<_> =
            exchanges.iter().filter(|it| it.role == role).map(|it| (path_of(it), it.outcome)).collect();
        let paths: Vec<String> = (0..CROWD).map(|number| format!("/second-{number}")).collect();
        let mut wanted: Vec<_> = paths.iter().map(|path| (path.as_str(), Outcome::Status(503))).collect();
        told.sort_unstable_by_key(|told| told.0);
        wanted.sort_unstable_by_key(|wanted| wanted.0);
        assert_eq!(told, wanted, "{role:?}");
        let mut successes = BTreeMap::new();
        for (path, status) in net.flights(role) {
            *successes.entry((path, status)).or_insert(0) += 1;
        }
        let wanted = ["/first", "/third"].map(|path| ((path.to_owned(), 200), CROWD));
        assert_eq!(successes, BTreeMap::from(wanted), "{role:?}");
    }
    let deadline = Instant::now() + PATIENCE;
    while !records().is_empty() {
        assert!(Instant::now() < deadline, "{} records stay", records().len());
        std::thread::yield_now();
    }
}

/// Those of pipelined requests, and all of a connection whose place another test has taken, are in a hash, from which nothing
/// else removes them.
#[test]
fn heads_go_with_their_connection() {
    let net = Net::new();
    let inode = net.inode;
    let socks = || observer().ask(move |kernel| kernel.tables.connections(|conn| conn.tuple.netns == inode).unwrap());
    let mut pair = net.pair();
    pair.request(&get("/one"));
    pair.request(&get("/two"));
    pair.respond(&[answer("200 OK", "one"), answer("200 OK", "two")].concat());
    let both = socks();
    let captured = || {
        let keys: Vec<(u64, u8)> = both.iter().flat_map(|(sock, _)| (0..4).map(move |slot| (*sock, slot))).collect();
        observer().ask(move |kernel| {
            keys.iter().filter(|(sock, slot)| kernel.tables.heads(*sock, *slot).unwrap().is_some()).count()
        })
    };
    let in_hash = |flags: u32| if flags & conn_flag::DIRECT == 0 { 2 } else { 1 };
    let wanted = both.iter().map(|(_, conn)| in_hash(conn.flags)).sum();
    assert_eq!((both.len(), captured()), (2, wanted), "the request behind another, at both ends");
    drop(pair);
    // No event tells the end of a connection that nothing waited on.
    let deadline = Instant::now() + PATIENCE;
    while !socks().is_empty() {
        assert!(Instant::now() < deadline, "the connection doesn't end");
        std::thread::yield_now();
    }
    assert_eq!(captured(), 0);
}
