//! Sockets that are older than the tracer.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tracer::event::decode::{self, NoNames};
use tracer::event::{Event, Outcome, Role, SignalKind};
use tracer::kernel::plan::HOOKS;
use tracer::kernel::{Kernel, Options, object};
use tracer_common::conn::{Conn, conn_flag, protocol, role};

use super::net::{Net, Pair, answer, get, is_vague, path_of};
use super::observer::{PATIENCE, netns};

/// A tracer of the test's own, which starts only when everything is there.
pub(crate) struct Late {
    kernel: Kernel,
    told: Vec<Event>,
}

impl Late {
    fn start() -> Self {
        Self::with(&Options::default())
    }

    /// As in a container, where the iterator sees no process of the node.
    fn without_iterator() -> Self {
        let hooks = HOOKS.iter().map(|hook| hook.name.to_owned()).filter(|name| name != "task_file").collect();
        Self::with(&Options { hooks, ..Options::default() })
    }

    pub(crate) fn with(options: &Options) -> Self {
        Self { kernel: Kernel::start(object::OBJECT, options).unwrap(), told: Vec::new() }
    }

    /// Everything told of a namespace, as soon as it satisfies.
    pub(crate) fn told(&mut self, net: &Net, what: &str, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.kernel.rings.drain(10_000, |_, bytes| {
                self.told.extend(decode::decode(bytes, &mut NoNames).ok().map(|record| record.event));
            });
            let ours: Vec<_> = self.told.iter().filter(|event| netns(event) == net.inode).cloned().collect();
            if enough(&ours) {
                return ours;
            }
            assert!(Instant::now() < deadline, "{what}: {ours:?}");
        }
    }

    /// Everything told of a namespace, but a failure caused last, after which nothing else comes; and but drops that
    /// say neither why nor where, on kernels that have them of any packet.
    fn all(&mut self, net: &Net) -> Vec<Event> {
        let mut fence = net.pair();
        fence.request(&get("/fence"));
        fence.respond(&answer("599 Fence", ""));
        let is_fence = |event: &Event| matches!(event, Event::Exchange(it) if path_of(it) == "/fence");
        let mut told = self.told(net, "the fence", |told| told.iter().filter(|event| is_fence(event)).count() == 2);
        let vague = self.kernel.session.features.arguments("kfree_skb") < 4;
        told.retain(|event| !(is_fence(event) || vague && is_vague(event)));
        told
    }

    fn record(&self, net: &Net, stream: &TcpStream) -> Conn {
        let local = stream.local_addr().unwrap().port();
        let ours = |conn: &Conn| conn.tuple.netns == net.inode && conn.tuple.local_port == local;
        let found = self.kernel.tables.connections(ours).unwrap();
        let peer = stream.peer_addr().unwrap().port();
        found.into_iter().map(|(_, conn)| conn).find(|conn| conn.tuple.remote_port == peer).expect("a record")
    }
}

fn exchanges(told: &[Event], role: Role) -> Vec<(String, Outcome)> {
    let of = |event: &Event| match event {
        Event::Exchange(it) if it.role == role => Some((path_of(it).to_owned(), it.outcome)),
        _ => None,
    };
    told.iter().filter_map(of).collect()
}

/// A process that holds the socket as well.
struct Holder(Child);

impl Holder {
    fn of(stream: &TcpStream) -> Self {
        // SAFETY: a copy of an open descriptor that a new process inherits; the spawner owns it for a moment only.
        let copy = unsafe { libc::dup(stream.as_raw_fd()) };
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        // SAFETY: as above.
        unsafe { libc::close(copy) };
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: a valid option of an open socket.
    let done = unsafe {
        let size = size_of::<libc::linger>() as u32;
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
    assert_eq!(done, 0);
}

/// A pause that the kernel's clock of ticks sees.
fn ticks() {
    std::thread::sleep(Duration::from_millis(30));
}

#[test]
fn every_connection_has_its_record() {
    let net = Net::new();
    let (idle, shared) = (net.pair(), net.pair());
    let mut half_closed = net.pair();
    half_closed.client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(half_closed.server.read(&mut [0; 1]).unwrap(), 0);
    let six = net.connect(&net.listen("::1"));
    let _holder = Holder::of(&shared.client);
    let mut late = Late::start();
    for pair in [&idle, &six] {
        for (stream, expected) in [(&pair.client, role::CLIENT), (&pair.server, role::SERVER)] {
            let record = late.record(&net, stream);
            assert_eq!((record.role, record.protocol, record.established_ns), (expected, protocol::UNKNOWN, 0));
            let flags = conn_flag::JOINED | conn_flag::EXISTING | conn_flag::ESTABLISHED;
            assert_eq!((record.flags & !conn_flag::DIRECT, record.state), (flags, 1));
            assert_eq!((record.connector.tgid, record.connector.tid), (std::process::id(), 0));
            assert!(record.cgroup_id != 0 && record.comm != [0; 16]);
        }
    }
    let record = late.record(&net, &shared.client);
    assert_eq!(record.connector.tgid, 0, "two processes hold it");
    assert_eq!(late.record(&net, &shared.server).connector.tgid, std::process::id());
    assert_ne!(late.record(&net, &half_closed.client).flags & conn_flag::LOCAL_CLOSED_FIRST, 0);
    assert_ne!(late.record(&net, &half_closed.server).flags & conn_flag::REMOTE_CLOSED_FIRST, 0);
    drop((idle, shared, half_closed, six));
    let told = late.all(&net);
    let failed = |event: &&Event| !matches!(event, Event::Drop(it) if it.reason.is_none());
    assert_eq!(told.iter().find(failed), None, "healthy ends are nothing to tell");
    let inode = net.inode;
    let left =
        late.kernel.tables.connections(|conn| conn.tuple.netns == inode && conn.flags & conn_flag::EXISTING != 0);
    assert!(left.unwrap().iter().all(|(_, conn)| conn.state != 1), "records end with their sockets");
}

#[test]
fn requests_before_and_after() {
    let net = Net::new();
    let mut midway = net.pair();
    midway.request(&get("/before"));
    let mut streaming = net.pair();
    streaming.request(&get("/stream"));
    streaming.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    // A child of a listener that admits nobody else says nothing of its role.
    let listener = net.listen("127.0.0.1");
    // SAFETY: a second listen() of an open socket changes its backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let mut single = net.connect(&listener);
    let mut late = Late::start();
    midway.respond(&answer("500 Before", "no"));
    midway.request(&get("/after"));
    midway.respond(&answer("502 After", "no"));
    streaming.respond(&[b'x'; 80]);
    streaming.respond(b"HTTP/1.1 500 a body.");
    streaming.request(&get("/streamed"));
    streaming.respond(&answer("200 OK", "fine"));
    single.respond(b"the end of something");
    single.request(b"of a body");
    single.request(&get("/joined"));
    single.respond(&answer("503 Busy", "no"));
    drop((midway, streaming, single));
    let told = late.all(&net);
    for end in [Role::Client, Role::Server] {
        let failed = [("/after".to_owned(), Outcome::Status(502)), ("/joined".to_owned(), Outcome::Status(503))];
        assert_eq!(exchanges(&told, end), failed, "{end:?}");
    }
    for event in &told {
        let Event::Exchange(exchange) = event else { panic!("only exchanges: {event:?}") };
        assert!(!exchange.first && exchange.established_ns == 0, "{exchange:?}");
        assert_eq!(exchange.actor.unwrap().tgid, std::process::id());
    }
}

#[test]
fn a_reset_while_it_waited() {
    let net = Net::new();
    let (mut waiting, mut answered, mut own) = (net.pair(), net.pair(), net.pair());
    answered.request(b"question");
    ticks();
    answered.respond(b"answer");
    own.request(b"question");
    own.client.shutdown(std::net::Shutdown::Write).unwrap();
    // As a server greets before it is asked.
    waiting.respond(b"greeting");
    ticks();
    waiting.request(b"question");
    let mut late = Late::start();
    let local = waiting.client.local_addr().unwrap();
    for Pair { client, server, .. } in [waiting, answered, own] {
        reset_on_close(&server);
        drop(server);
        assert!((&client).read(&mut [0; 1]).is_err());
    }
    let told = late.all(&net);
    let ends: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Signal(signal) if signal.signal == SignalKind::ConnectionEnd => Some(signal),
            _ => None,
        })
        .collect();
    let [end] = ends.as_slice() else { panic!("only the one that waited: {ends:?}") };
    assert_eq!((end.local, end.client, end.reset_received), (local, true, true));
    assert!(end.cgroup != 0 && end.conn.is_some());
}

/// Idle for long, it may be forgotten. Then its server closes it: after the next request left, before, or before and only
/// its own direction.
#[test]
fn a_forgotten_connection_that_its_server_closes() {
    let net = Net::new();
    let mut late = Late::start();
    let (mut crossing, mut closed, mut half) = (net.pair(), net.pair(), net.pair());
    for pair in [&mut crossing, &mut closed, &mut half] {
        pair.request(&get("/before"));
        pair.respond(&answer("200 OK", "fine"));
    }
    late.kernel.tables.sweep_conns(tracer::clock::monotonic_ns(), Duration::ZERO).unwrap();
    net.nft("input", &[&format!("tcp dport {} meta length > 60 drop", crossing.port)]);
    crossing.client.write_all(&get("/crossing")).unwrap();
    drop(crossing.server);
    assert_eq!(crossing.client.read(&mut [0; 1]).unwrap(), 0);
    net.sh("nft flush ruleset");
    drop(crossing.client);
    drop(closed.server);
    assert_eq!(closed.client.read(&mut [0; 1]).unwrap(), 0);
    closed.client.write_all(&get("/closed")).unwrap();
    drop(closed.client);
    half.server.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(half.client.read(&mut [0; 1]).unwrap(), 0);
    half.client.write_all(&get("/half")).unwrap();
    half.server.read_exact(&mut [0; 1]).unwrap();
    drop((half.server, half.client));
    let told = late.all(&net);
    for (end, paths) in [(Role::Client, &["/closed", "/crossing", "/half"][..]), (Role::Server, &["/half"])] {
        let mut found = exchanges(&told, end);
        // Of the server that closed both directions the socket may be gone.
        found.retain(|(path, _)| end == Role::Client || path != "/closed");
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, paths.iter().map(|path| ((*path).to_owned(), Outcome::Unanswered)).collect::<Vec<_>>());
    }
    for event in &told {
        let Event::Exchange(exchange) = event else { continue };
        assert!(exchange.met_a_closing_server(), "{exchange:?}");
    }
}

#[test]
fn a_connect_under_way() {
    let net = Net::new();
    net.nft("input", &["tcp dport 7600 drop"]);
    let target: SocketAddr = "127.0.0.1:7600".parse().unwrap();
    let begin = Instant::now();
    let socket: File = net.begin_connect(target);
    let drops = super::observer::observer();
    drops.wait("a second SYN", |seen| {
        let syn = |event: &Event| matches!(event, Event::Drop(it) if it.destination == target && it.netns == net.inode);
        (seen.iter().filter(|seen| seen.record.as_ref().is_ok_and(|it| syn(&it.event))).count() > 1).then_some(())
    });
    let mut late = Late::start();
    drop(socket);
    let told = late.told(&net, "the failed connect", |told| told.iter().any(|it| matches!(it, Event::Connect(_))));
    let connect = told.iter().find_map(|event| if let Event::Connect(it) = event { Some(it) } else { None }).unwrap();
    assert_eq!((connect.remote, connect.actor.tgid, connect.actor.tid), (target, std::process::id(), 0));
    assert!(connect.syn_retransmits >= 1 && connect.local.port() != 0, "{connect:?} after {:?}", begin.elapsed());
}

#[test]
fn what_is_encrypted_is_known_by_its_records() {
    let net = Net::new();
    let mut pair = net.pair();
    let mut late = Late::start();
    let data = [&[0x17, 3, 3, 0, 32][..], &[0xaa; 32]].concat();
    pair.client.write_all(&data).unwrap();
    pair.server.read_exact(&mut [0; 37]).unwrap();
    assert_eq!(late.record(&net, &pair.client).protocol, protocol::TLS);
    pair.request(&get("/inside"));
    pair.respond(&answer("500 No", "no"));
    drop(pair);
    assert_eq!(late.all(&net), []);
}

#[test]
fn the_first_packet_seen_makes_a_record() {
    let net = Net::new();
    let (mut encrypted, mut other, mut answered, idle) = (net.pair(), net.pair(), net.pair(), net.pair());
    answered.request(&get("/before"));
    let mut late = Late::without_iterator();
    let data = [&[0x17, 3, 3, 0, 32][..], &[0xaa; 32]].concat();
    encrypted.request(&data);
    other.request(b"PING\r\n");
    other.respond(b"+PONG\r\n");
    answered.respond(&answer("500 Before", "no"));
    for (pair, expected) in [(&encrypted, protocol::TLS), (&other, protocol::UNKNOWN), (&answered, protocol::UNKNOWN)] {
        for (stream, side) in [(&pair.client, role::CLIENT), (&pair.server, role::SERVER)] {
            let record = late.record(&net, stream);
            assert_eq!((record.role, record.protocol, record.connector.tgid), (side, expected, 0));
            let flags = conn_flag::JOINED | conn_flag::EXISTING | conn_flag::ESTABLISHED;
            assert_eq!((record.flags & flags, record.state, record.established_ns), (flags, 1, 0));
            assert!(record.cgroup_id != 0 && record.last_ns != [0, 0]);
        }
    }
    let local = idle.client.local_addr().unwrap().port();
    let idle_record = late.kernel.tables.connections(|it| it.tuple.netns == net.inode && it.tuple.local_port == local);
    assert!(idle_record.unwrap().is_empty(), "nothing is known of what nobody uses");
    for pair in [&mut other, &mut answered] {
        pair.request(&get("/after"));
        pair.respond(&answer("502 After", "no"));
    }
    drop((encrypted, other, answered, idle));
    let told = late.all(&net);
    for end in [Role::Client, Role::Server] {
        assert_eq!(exchanges(&told, end), [(); 2].map(|()| ("/after".to_owned(), Outcome::Status(502))), "{end:?}");
    }
}
