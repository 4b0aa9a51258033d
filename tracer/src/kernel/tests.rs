//! The real object on the running kernel, as root: `cargo test -p tracer kernel::tests -- --ignored --test-threads=1`.

use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracer_common::conn::{Conn, DirectConn, conn_flag};
use tracer_common::event::{DnsKey, DnsPending, Header, SkbDrop, kind};
use tracer_common::limits::DIRECT_BITS;
use tracer_common::stats::Stat;
use zerocopy::{FromBytes, FromZeros};

use super::decode_stack::{self, Mechanism, NetfilterHook};
use super::features::reason_name;
use super::{Kernel, Options, object, ring::Ring};
use crate::clock;
use crate::host::cgroups::find_mount;

/// Observes a cgroup of this process's own: whatever else the machine does isn't seen.
struct Observer {
    kernel: Kernel,
    directory: PathBuf,
    before: PathBuf,
}

fn start(options: &Options) -> Observer {
    let mount = find_mount(&options.host_root).unwrap().path;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let directory = mount.join(format!("tracer-loader-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    join(&directory);
    let options = Options { cgroup: Some(directory.clone()), ..options.clone() };
    let kernel = Kernel::start(object::OBJECT, &options).unwrap();
    Observer { kernel, before: mount.join(own), directory }
}

fn join(cgroup: &Path) {
    std::fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
}

impl Drop for Observer {
    fn drop(&mut self) {
        join(&self.before);
        std::fs::remove_dir(&self.directory).unwrap();
    }
}

impl Deref for Observer {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        &self.kernel
    }
}

impl DerefMut for Observer {
    fn deref_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }
}

/// Answers one request per connection in a child process: the tracer's own sockets are not events.
fn exchange(status: &str) {
    let script = format!(
        "import socket,threading\n\
         s=socket.create_server(('127.0.0.1',0))\n\
         def serve():\n c,_=s.accept()\n c.recv(4096)\n c.sendall(b'HTTP/1.1 {status}\\r\\nContent-Length: 2\\r\\n\\r\\nno')\n c.close()\n\
         t=threading.Thread(target=serve);t.start()\n\
         c=socket.create_connection(s.getsockname())\n\
         c.sendall(b'GET /checkout HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
         while c.recv(4096): pass\n\
         t.join()\n"
    );
    let done = std::process::Command::new("python3").args(["-c", &script]).status().unwrap();
    assert!(done.success());
}

fn kinds(kernel: &mut Kernel) -> Vec<(Ring, u16)> {
    std::thread::sleep(Duration::from_millis(100));
    let mut found = Vec::new();
    kernel.rings.drain(10_000, |ring, bytes| {
        let (header, _) = Header::read_from_prefix(bytes).unwrap();
        assert!(header.len as usize <= bytes.len());
        found.push((ring, header.kind));
    });
    found
}

#[test]
#[ignore = "needs root"]
fn every_hook_attaches_and_a_failure_is_an_event() {
    let mut kernel = start(&Options::default());
    let skipped: Vec<_> =
        kernel.session.plan.skipped.iter().map(|skipped| (skipped.hook.name, &skipped.reason)).collect();
    assert_eq!(skipped, []);
    assert!(kernel.session.programs().iter().all(|program| program.loaded && program.attached));

    exchange("200 OK");
    assert!(!kinds(&mut kernel).iter().any(|(_, kind)| *kind == kind::EXCHANGE), "successes aren't streamed");
    let (flight, overwritten) = kernel.flight.read_new().unwrap();
    let ours: Vec<_> = flight.iter().filter(|record| record.line.starts_with(b"GET /checkout")).collect();
    assert_eq!((ours.len(), overwritten), (2, 0), "both ends");
    assert!(kernel.flight.read_new().unwrap().0.iter().all(|record| !record.line.starts_with(b"GET /checkout")));
    assert!(kernel.tables.stats().unwrap()[Stat::Flight as usize] >= 2);
    let counted = |kernel: &Kernel| -> Vec<_> {
        let counters = kernel.tables.counters().unwrap();
        counters.into_iter().map(|(key, counter)| (key, counter.latency.iter().sum::<u64>())).collect()
    };
    let keys: Vec<_> = counted(&kernel).into_iter().map(|(key, _)| key).collect();
    assert!(keys.len() >= 2, "both ends");
    kernel.tables.forget_counters(&keys).unwrap();
    assert_eq!(counted(&kernel), []);
    exchange("200 OK");
    assert!(counted(&kernel).iter().all(|(_, count)| *count == 1), "counted anew");
    assert!(counted(&kernel).len() >= 2);

    exchange("503 Service Unavailable");
    let found = kinds(&mut kernel);
    assert_eq!(found.iter().filter(|found| **found == (Ring::Failures, kind::EXCHANGE)).count(), 2, "{found:?}");
    assert_eq!(kernel.tables.stats().unwrap()[Stat::LostFailures as usize], 0);
}

#[test]
#[ignore = "needs root"]
fn pending_things_are_swept() {
    let kernel = start(&Options::default());
    let query = "import socket;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);\
                 s.sendto(b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x01a\\x02bc\\0\\0\\x01\\0\\x01',('127.0.0.1',53))";
    assert!(std::process::Command::new("python3").args(["-c", query]).status().unwrap().success());
    let now = clock::monotonic_ns();
    assert!(kernel.tables.sweep_dns(now, Duration::from_secs(3600)).unwrap().is_empty());
    let found = kernel.tables.sweep_dns(clock::monotonic_ns(), Duration::ZERO).unwrap();
    assert!(found.iter().any(|(key, _)| key.id == 0x1234), "{}", found.len());
    assert!(kernel.tables.sweep_dns(clock::monotonic_ns(), Duration::ZERO).unwrap().is_empty());

    // A network namespace without routes: the connect dies before SYN_SENT.
    let unroutable = "import socket\ns=socket.socket()\ntry: s.connect(('10.9.8.7',4242))\nexcept OSError: pass";
    assert!(
        std::process::Command::new("unshare").args(["-n", "python3", "-c", unroutable]).status().unwrap().success()
    );
    let attempts = kernel.tables.sweep_connects(clock::monotonic_ns(), Duration::ZERO).unwrap();
    assert!(attempts.iter().any(|attempt| attempt.pending.remote_port == 4242), "of {}", attempts.len());
    kernel.tables.sweep_conns(clock::monotonic_ns(), Duration::ZERO).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_query_that_is_still_being_filled_is_left_alone() {
    let kernel = start(&Options::default());
    let key = DnsKey { sock: 1, ..DnsKey::new_zeroed() };
    let is_there = |queries: Vec<(DnsKey, DnsPending)>| queries.iter().any(|(found, _)| found.sock == key.sock);
    let mut query = DnsPending::new_zeroed();
    for (start_ns, told) in [(0, false), (1, true)] {
        query.start_ns = start_ns;
        kernel.tables.dns.put(&key, &query).unwrap();
        let now = clock::monotonic_ns();
        assert_eq!(is_there(kernel.tables.pending_dns(now, Duration::ZERO).unwrap()), told);
        assert_eq!(is_there(kernel.tables.sweep_dns(now, Duration::ZERO).unwrap()), told);
        assert_eq!(kernel.tables.dns.get(&key).unwrap().is_empty(), told, "removed once it is told");
    }
}

#[test]
#[ignore = "needs root"]
fn idle_connections_are_forgotten_where_room_gets_short() {
    let kernel = start(&Options::default());
    let mut conn = Conn::new_zeroed();
    (conn.born_ns, conn.flags) = (1, conn_flag::JOINED);
    let room = u64::from(kernel.tables.conn.max_entries().unwrap());
    let fill = |socks: std::ops::Range<u64>| {
        socks.for_each(|sock| kernel.tables.conn.put(&sock, &conn).unwrap());
        kernel.tables.forget_idle(clock::monotonic_ns(), Duration::from_secs(1)).unwrap();
        kernel.tables.connection(1).unwrap().is_some()
    };
    assert!(fill(1..room / 2 - 1000));
    assert!(!fill(room / 2 - 1000..room / 2 + 2));
}

/// The places are an array, the rest a hash.
fn fill(kernel: &Kernel) {
    let taken = DirectConn { claims: 1, sock: 1, ..DirectConn::new_zeroed() };
    (0..1 << DIRECT_BITS).for_each(|place| kernel.tables.direct.put(&place, &taken).unwrap());
    let conn = Conn::new_zeroed();
    (1u64..).find(|sock| kernel.tables.conn.put(sock, &conn).is_err());
}

#[test]
#[ignore = "needs root"]
fn connections_that_there_is_no_room_for_are_counted() {
    // Without those that see connections begin, of whatever else the machine does.
    let hooks = ["egress", "ingress"].map(str::to_owned).to_vec();
    let kernel = start(&Options { hooks, ..Options::default() });
    fill(&kernel);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for _ in 0..500 {
        client.write_all(b"GET / HTTP/1.1\r\n\r\n.").unwrap();
        server.read_exact(&mut [0; 19]).unwrap();
    }
    let lost = kernel.tables.stat(Stat::LostConn).unwrap();
    assert!((1..20).contains(&lost), "once a second: {lost}");
}

#[test]
#[ignore = "needs root"]
fn an_unanswered_request_is_open_with_its_head() {
    let kernel = start(&Options::default());
    let script = "import socket,time\n\
                  s=socket.create_server(('127.0.0.1',0))\n\
                  c=socket.create_connection(s.getsockname())\n\
                  c.sendall(b'GET /slow HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n\
                  print('sent',flush=True)\n\
                  time.sleep(60)\n";
    let mut child = std::process::Command::new("python3")
        .args(["-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    let open = kernel.tables.open_connections(u64::MAX).unwrap();
    let with_head = open.iter().filter(|(sock, conn)| {
        conn.requests.iter().any(|request| {
            request.head_len > 0
                && kernel
                    .tables
                    .heads(*sock, request.slot)
                    .unwrap()
                    .is_some_and(|heads| heads.request.starts_with(b"GET /slow"))
        })
    });
    let found = with_head.count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found, 2, "both ends, of {}", open.len());
}

#[test]
#[ignore = "needs root"]
fn waiting_wakes_up() {
    let mut kernel = start(&Options { all_requests: true, ..Options::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        kernel.rings.drain(usize::MAX, |_, _| {});
        let work = std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            exchange("500 Internal Server Error");
        });
        let mut exchanges = 0;
        while exchanges < 2 {
            tokio::time::timeout(Duration::from_secs(5), kernel.rings.ready()).await.expect("a wake-up").unwrap();
            kernel.rings.drain(64, |_, bytes| {
                exchanges += usize::from(Header::read_from_prefix(bytes).unwrap().0.kind == kind::EXCHANGE);
            });
        }
        work.join().unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn the_stack_of_a_drop_names_its_hook() {
    let mut kernel = start(&Options::default());
    // In a network namespace of its own, gone with the process.
    let drop = "ip link set lo up && nft 'add table inet t; add chain inet t i { type filter hook input priority 0; }; \
                add rule inet t i tcp dport 4243 drop' && \
                python3 -c 'import socket; s=socket.socket(); s.settimeout(0.3); s.connect_ex((\"127.0.0.1\",4243))'";
    assert!(std::process::Command::new("unshare").args(["-n", "sh", "-c", drop]).status().unwrap().success());
    let mut drops = Vec::new();
    kernel.rings.drain(10_000, |_, bytes| {
        if Header::read_from_prefix(bytes).unwrap().0.kind == kind::KFREE_SKB {
            drops.push(SkbDrop::read_from_prefix(bytes).unwrap().0);
        }
    });
    let ours = drops.iter().find(|event| event.packet.destination_port == 4243).expect("a drop event");
    let names: Vec<_> = ours.stack.iter().map(|address| kernel.symbols.name(*address).map(str::to_owned)).collect();
    let place = decode_stack::decode(names.iter().map(Option::as_deref));
    assert_eq!(place.hook, Some(NetfilterHook::Input), "{names:?}");
    if kernel.session.features.release >= (6, 8) {
        assert_eq!(place.mechanism, Some(Mechanism::Nftables), "{names:?}");
    }
    assert_eq!(reason_name(&kernel.session.features.drop_reasons, ours.reason).as_deref(), Some("NETFILTER_DROP"));
}
