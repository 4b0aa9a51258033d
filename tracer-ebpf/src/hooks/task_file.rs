//! `iter/task_file` (since 5.8, `kernel/bpf/task_iter.c`): every open file of every process, when user space reads the
//! iterator. Sockets that are older than the tracer get their records here. A child that nobody has accepted yet has no
//! file: it is joined at its next request.
//!
//! The context's pointers are typed (`struct bpf_iter__task_file`: meta, task, fd, file) and NULL at the end; they are
//! only ever read by `bpf_probe_read_kernel`, as everywhere.

use core::ffi::c_void;

use tracer_common::{
    Actor,
    conn::{Conn, conn_flag},
    limits::EXISTING,
    stats::Stat,
};

use crate::{
    conn,
    globals::offset,
    kernel::{self, AF_INET, AF_INET6, IPPROTO_TCP, read_or_zero, state},
    maps::{TAKEN_OVER, count},
};

/// `S_IFMT` and `S_IFSOCK`: only sockets have inodes of that type and private data, which is a `struct socket` then.
const TYPE: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;

#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub extern "C" fn task_file(ctx: *mut c_void) -> i32 {
    // SAFETY: context fields.
    let (task, file) = unsafe {
        let words = ctx.cast::<u64>();
        (words.add(1).read_volatile(), words.add(3).read_volatile())
    };
    let (task, file) = (kernel::address(task), kernel::address(file));
    let mode: u16 = read_or_zero(read_or_zero(file, offset!(file_inode)), offset!(inode_mode));
    if mode & TYPE != SOCKET {
        return 0;
    }
    let sock: u64 = read_or_zero(read_or_zero(file, offset!(file_private_data)), offset!(socket_sk));
    let family: u16 = read_or_zero(sock, offset!(skc_family));
    // Two bytes since 5.6: an MPTCP socket, whose number's lower byte is TCP's, is no `tcp_sock`.
    let protocol: u16 = read_or_zero(sock, offset!(sk_protocol));
    if (family == AF_INET || family == AF_INET6) && protocol == u16::from(IPPROTO_TCP) {
        take_over(sock, task);
    }
    0
}

#[inline(always)]
fn take_over(sock: u64, task: u64) {
    let holder = kernel::task_actor(task);
    if let Some(record) = conn::find(sock) {
        // SAFETY: a live map value.
        let record = unsafe { &mut *record };
        if record.flags & conn_flag::EXISTING == 0 {
            return;
        }
        if record.comm[0] == 0 {
            // A packet was first.
            hold(record, holder, task);
        } else if record.connector.tgid != holder.tgid {
            // Shared by processes (inherited or passed on): none of them is known to be the one that uses it.
            record.connector = Actor::default();
        }
        return;
    }
    if !conn::is_connected(sock) {
        return;
    }
    let Some(taken) = TAKEN_OVER.get_ptr_mut(0) else { return };
    // SAFETY: a live map value; one reader drives the iterator.
    unsafe {
        if *taken >= EXISTING {
            return count(Stat::LostExisting);
        }
        *taken += 1;
    }
    let Some(record) = conn::take_over(sock) else { return };
    // SAFETY: a live map value.
    let record: &mut Conn = unsafe { &mut *record };
    hold(record, holder, task);
    if record.state == state::SYN_SENT {
        record.syn_retransmits = u32::from(read_or_zero::<u8>(sock, offset!(icsk_retransmits)));
    }
}

/// The process whose socket it is; its thread isn't known.
#[inline(always)]
fn hold(record: &mut Conn, holder: Actor, task: u64) {
    record.connector = Actor { tgid: holder.tgid, tid: 0 };
    record.comm = kernel::task_comm(task);
}
