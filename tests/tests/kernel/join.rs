//! The ground that everything stands on: tracepoints and packets meet in one connection record.

use std::time::Duration;

use tracer::event::{Outcome, Role};
use tracer_common::conn::{Conn, conn_flag, role};

use super::net::{Net, answer, get};
use super::observer::observer;

/// `TCP_*` (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;

/// Records of a namespace, of open connections.
fn open(netns: u32) -> Vec<Conn> {
    let all = observer().ask(|kernel| kernel.tables.open_connections(u64::MAX).unwrap());
    all.into_iter().map(|(_, conn)| conn).filter(|conn| conn.tuple.netns == netns).collect()
}

/// `inet_sock_set_state`, `tcp_rcv_space_adjust` and both directions of `cgroup_skb` write to one record: of a client, of
/// an accepted child, and of a connect whose own OUTPUT chain drops it.
#[test]
fn hooks_meet_in_one_record() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(&get("/join"));
    let conns = open(net.inode);
    assert_eq!(conns.len(), 2, "one record for each end: {conns:?}");
    for conn in &conns {
        // inet_sock_set_state: born at SYN_SENT or SYN_RECV, not joined by a packet.
        assert_eq!(conn.flags & (conn_flag::ESTABLISHED | conn_flag::JOINED), conn_flag::ESTABLISHED);
        assert!(conn.established_ns >= conn.born_ns && conn.state == ESTABLISHED);
        assert_eq!((conn.begun, conn.answered), (1, 0));
    }
    let client = conns.iter().find(|conn| conn.role == role::CLIENT).expect("the client's record");
    let server = conns.iter().find(|conn| conn.role == role::SERVER).expect("the accepted child's record");
    let own = std::process::id();
    // inet_sock_set_state in the connecting thread; cgroup_skb egress in the sending one.
    assert_eq!((client.connector.tgid, client.requests[0].actor.tgid), (own, own));
    assert!(client.bytes[0] > 0 && client.bytes[1] == 0);
    // cgroup_skb ingress, then tcp_rcv_space_adjust in the reading thread.
    assert!(server.bytes[1] > 0 && server.bytes[0] == 0);
    assert_eq!(server.requests[0].actor.tgid, own);
    assert!(server.requests[0].read_ns >= server.requests[0].start_ns);
    assert_eq!(client.tuple.local_port, server.tuple.remote_port);
    assert_eq!((client.requests[0].seq, client.requests[0].ack), (server.requests[0].seq, server.requests[0].ack));

    // The other directions: egress at the child, ingress at the client.
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    let exchanges = net.exchanges();
    assert_eq!(exchanges.len(), 2);
    for exchange in &exchanges {
        assert_eq!(exchange.outcome, Outcome::Status(500));
        let born = if exchange.role == Role::Client { client.born_ns } else { server.born_ns };
        assert_eq!(exchange.conn.born_ns, born, "the same record to its end");
    }
    assert_eq!(exchanges[0].hop_key(), exchanges[1].hop_key());
    assert!(open(net.inode).is_empty(), "deleted at the socket's end");

    // Its own OUTPUT chain drops the SYN: no packet passes cgroup_skb, the record still tells the connect.
    net.nft("output", &["tcp dport 7777 drop"]);
    let error = net.try_connect("127.0.0.1:7777".parse().unwrap(), Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let connect = net.wait_connect();
    assert_eq!((connect.remote, connect.error), ("127.0.0.1:7777".parse().unwrap(), 0));
    assert_eq!(connect.actor.tgid, own);
    assert_ne!(connect.local.port(), 0, "the port outlives the socket's unhashing");
    let dropped = net.wait_filtered();
    assert_eq!(dropped.hook.as_deref(), Some("OUTPUT"));
    assert_eq!(dropped.source, connect.local, "joins the drop by its tuple");
}
