//! Servers that neither read nor write: packets are seen whatever system call makes them.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use tracer::event::{Outcome, Role};

use super::net::{Net, answer, get};

#[test]
fn sendfile() {
    let net = Net::new();
    let mut pair = net.pair();
    pair.request(&get("/file"));
    let response = answer("503 Busy", &"x".repeat(4000));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&response).unwrap();
    let mut offset = 0;
    while offset < response.len() as i64 {
        // SAFETY: two open descriptors and a valid offset.
        let sent =
            unsafe { libc::sendfile(pair.server.as_raw_fd(), file.as_raw_fd(), &raw mut offset, response.len()) };
        assert!(sent > 0, "{}", std::io::Error::last_os_error());
    }
    let mut read = vec![0; response.len()];
    pair.client.read_exact(&mut read).unwrap();
    drop(pair);
    net.assert_http(&[("/file", Outcome::Status(503))], &[]);
}

#[test]
fn io_uring() {
    let mut ring = match io_uring::IoUring::new(4) {
        Ok(ring) => ring,
        // Many machines forbid it (`kernel.io_uring_disabled`, seccomp): then no server uses it either.
        Err(error) => {
            eprintln!("io_uring is not allowed here: {error}");
            return;
        }
    };
    let mut submit = |entry: io_uring::squeue::Entry| {
        // SAFETY: the buffers live until the completion, which is waited for.
        unsafe { ring.submission().push(&entry).unwrap() };
        ring.submit_and_wait(1).unwrap();
        let done = ring.completion().next().unwrap().result();
        assert!(done > 0, "{}", std::io::Error::from_raw_os_error(-done));
        done as usize
    };
    let net = Net::new();
    let mut pair = net.pair();
    let server = io_uring::types::Fd(pair.server.as_raw_fd());
    for (path, status) in [("/well", "200 OK"), ("/badly", "500 No")] {
        pair.client.write_all(&get(path)).unwrap();
        let mut request = [0u8; 512];
        let read = submit(io_uring::opcode::Recv::new(server, request.as_mut_ptr(), request.len() as u32).build());
        assert_eq!(request[..read], get(path));
        let response = answer(status, "body");
        let sent = submit(io_uring::opcode::Send::new(server, response.as_ptr(), response.len() as u32).build());
        let mut answered = vec![0; sent];
        pair.client.read_exact(&mut answered).unwrap();
    }
    drop(pair);
    net.assert_http(&[("/badly", Outcome::Status(500))], &[("/well", 200)]);
    let exchanges = net.exchanges();
    let read = exchanges.iter().find(|it| it.role == Role::Server).and_then(|it| it.read_ns);
    assert!(read.is_some(), "who read it is known, too: {exchanges:?}");
}
