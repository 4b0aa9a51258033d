//! SYNs that reach a listener, and whether a SYN-ACK follows.

use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::Duration;

use tracer::event::{Event, UnansweredSyn, decode};

use super::net::Net;
use super::observer::observer;

const SHORT: Duration = Duration::from_millis(400);

/// What the sweep finds of a namespace, whoever swept. Every SYN that it takes has been handled: the caller waited for
/// the outcome of its connects.
fn unanswered(net: &Net) -> Vec<UnansweredSyn> {
    static SWEPT: Mutex<Vec<UnansweredSyn>> = Mutex::new(Vec::new());
    let mut swept = SWEPT.lock().unwrap();
    let pending = observer().ask(|kernel| kernel.tables.sweep_syns(u64::MAX, Duration::ZERO).unwrap());
    swept.extend(pending.iter().filter_map(|syn| match decode::unanswered_syn(syn, 0).event {
        Event::UnansweredSyn(syn) => Some(syn),
        _ => None,
    }));
    swept.iter().filter(|syn| syn.netns == net.inode).cloned().collect()
}

/// The hook runs for SYN-ACKs of IPv6 listeners from somewhere between 6.1 and 6.12 on; no type information tells.
fn answers_over_ipv6_are_seen() -> bool {
    observer().features().release > (6, 1)
}

fn set_backlog(listener: &TcpListener, backlog: i32) {
    // SAFETY: a second listen() of an open socket changes its backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), backlog) }, 0);
}

#[test]
fn a_full_accept_queue() {
    for address in ["127.0.0.1", "::1"] {
        let net = Net::new();
        let listener = net.listen(address);
        set_backlog(&listener, 1);
        let local = listener.local_addr().unwrap();
        let _waiting = [net.try_connect(local, SHORT).unwrap(), net.try_connect(local, SHORT).unwrap()];
        // None of the answered ones found the queue full.
        let answered = unanswered(&net);
        let unseen = if local.is_ipv4() || answers_over_ipv6_are_seen() { 0 } else { 2 };
        assert_eq!(answered.len(), unseen, "the queue had room: {answered:?}");
        assert!(answered.iter().all(|syn| syn.accept_queue <= syn.accept_queue_max), "{answered:?}");
        net.try_connect(local, SHORT).unwrap_err();
        let connect = net.wait_connect();
        let mut syns = unanswered(&net);
        syns.retain(|syn| !answered.contains(syn));
        let [syn] = syns.as_slice() else { panic!("one SYN: {syns:?}") };
        assert_eq!((syn.local, syn.remote), (local, connect.local));
        assert_eq!((syn.accept_queue, syn.accept_queue_max, syn.syn_queue), (2, 1, 0));
        assert!(syn.cgroup != 0 && syn.start_ns >= connect.start_ns && syn.start_ns <= connect.end_ns);
        assert_eq!(net.events().len(), 1, "the failed connect, and no drop: {:?}", net.events());
    }
}

#[test]
fn answered_syns_leave_nothing() {
    let net = Net::new();
    for address in ["127.0.0.1", "::1", "::"] {
        drop(net.connect(&net.listen(address)));
    }
    // The SYN-ACK leaves from another port than the SYN was sent to.
    let listener = net.listen("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    net.sh(&format!(
        "nft 'table ip n {{ chain c {{ type nat hook output priority -100; tcp dport 7999 redirect to :{port}; }}; }}'"
    ));
    net.try_connect("127.0.0.1:7999".parse().unwrap(), SHORT).unwrap();
    let unseen = if answers_over_ipv6_are_seen() { 0 } else { 2 };
    let left = unanswered(&net);
    assert!(left.len() == unseen && left.iter().all(|syn| syn.local.is_ipv6() && syn.accept_queue == 0), "{left:?}");
}

/// Its SYN-ACK dies in the listener's own namespace: that is a drop, and the queue has room.
#[test]
fn a_dropped_syn_ack() {
    let net = Net::new();
    let listener = net.listen("127.0.0.1");
    let local = listener.local_addr().unwrap();
    net.nft("output", &[&format!("tcp sport {} drop", local.port())]);
    net.try_connect(local, SHORT).unwrap_err();
    let dropped = net.wait_filtered();
    assert_eq!((dropped.source, dropped.tcp_flags & 0x12), (local, 0x12));
    let syns = unanswered(&net);
    assert!(syns.iter().all(|syn| syn.local == local && syn.accept_queue == 0), "{syns:?}");
    assert_eq!(syns.len(), 1);
}

/// Neither reaches the listener.
#[test]
fn refused_and_dropped_syns_are_none_of_a_listener() {
    let net = Net::new();
    net.nft("input", &["tcp dport 7101 drop"]);
    net.try_connect("127.0.0.1:7101".parse().unwrap(), SHORT).unwrap_err();
    net.try_connect("127.0.0.1:7102".parse().unwrap(), SHORT).unwrap_err();
    assert_eq!(unanswered(&net), []);
}
