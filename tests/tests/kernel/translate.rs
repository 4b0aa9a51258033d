//! Services that are translated where sockets connect and not in the packet's way: as Cilium does it in place of
//! kube-proxy (bpf/bpf_sock.c, `__sock4_xlate_fwd`).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tracer::host::HostRoot;
use tracer::host::cgroups::find_mount;
use tracer_tests::program::{Hook, Program};

use super::net::Net;
use super::observer::{PATIENCE, observer};

const fn op(code: u8, registers: u8, offset: i16, value: u32) -> u64 {
    code as u64 | (registers as u64) << 8 | (offset as u16 as u64) << 16 | (value as u64) << 32
}

/// Whoever connects to the one address gets the other; to that address without a backend, nothing. Ends when dropped.
fn translate(from: SocketAddrV4, to: Option<SocketAddrV4>) -> Program {
    let raw = |address: &Ipv4Addr| u32::from_ne_bytes(address.octets());
    // `user_ip4` and `user_port` of `struct bpf_sock_addr`.
    let (ip, port) = (4, 24);
    let mut program = vec![op(0x61, 0x12, ip, 0), op(0xb4, 0x03, 0, raw(from.ip())), op(0xb7, 0x00, 0, 1)];
    let found = match to {
        Some(to) => vec![
            op(0xb4, 0x04, 0, raw(to.ip())),
            op(0x63, 0x41, ip, 0),
            op(0xb4, 0x04, 0, u32::from(to.port().to_be())),
            op(0x63, 0x41, port, 0),
        ],
        None => vec![op(0xb7, 0x00, 0, 0)],
    };
    // Unless it is that address, past what is done to it.
    program.push(op(0x5d, 0x32, found.len() as i16, 0));
    program.extend(found);
    program.push(op(0x95, 0, 0, 0));
    let mount = find_mount(&HostRoot::new("/")).unwrap();
    Program::attach(Hook::Connect4, &program, &mount.path).unwrap()
}

fn address(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

#[test]
fn a_translated_connect_is_its_backends() {
    let (net, service) = (Net::new(), address("198.51.100.71:80"));
    let backend = address("127.0.0.1:7471");
    let _translation = translate(service, Some(backend));
    let error = net.try_connect(service.into(), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let connect = net.wait_connect();
    assert_eq!((connect.remote, connect.error), (SocketAddr::from(backend), libc::ECONNREFUSED as u32));
}

#[test]
fn a_service_without_backends_is_told_by_its_own_address() {
    let (net, service) = (Net::new(), address("198.51.100.72:80"));
    let _translation = translate(service, None);
    let error = net.try_connect(service.into(), PATIENCE).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    // No socket changes its state: what began and went no further is found by the sweep.
    let attempts = observer().ask(|kernel| kernel.tables.sweep_connects(u64::MAX, Duration::ZERO).unwrap());
    let own = attempts.iter().find(|attempt| attempt.pending.netns == net.inode).expect("an attempt");
    let remote =
        Ipv6Addr::from(own.pending.remote).to_ipv4_mapped().map(|ip| SocketAddrV4::new(ip, own.pending.remote_port));
    assert_eq!(remote, Some(service));
}
