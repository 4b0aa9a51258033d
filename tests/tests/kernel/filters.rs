//! Drops by programs: tc and XDP. The programs are two instructions long and loaded here, by the system call itself.

use std::io::Error;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use tracer::event::{Drop as Dropped, Event};

use super::net::Net;

/// `enum bpf_cmd`, `bpf_prog_type` and `bpf_attach_type` of `include/uapi/linux/bpf.h`; `if_link.h` for the flag.
const PROG_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
const XDP_ATTACH: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const TC_ACT_SHOT: u32 = 2;
const XDP_DROP: u32 = 1;

fn bpf(command: i32, attributes: &[u32]) -> Result<OwnedFd, Error> {
    // SAFETY: the attributes are as long as said; the kernel checks them. A descriptor that it gives is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes));
        if fd < 0 { Err(Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}

/// A program that gives the same verdict on every packet of the namespace's loopback device, until it is dropped.
fn attach(net: &Net, program: u32, verdict: u32, hook: u32, flags: u32) -> Result<OwnedFd, Error> {
    // mov r0, verdict; exit
    let code: [u64; 2] = [0xb7 | u64::from(verdict) << 32, 0x95];
    let words = |address: *const u8| [address as u64 as u32, (address as u64 >> 32) as u32];
    let ([code_low, code_high], [license_low, license_high]) =
        (words(code.as_ptr().cast()), words(c"GPL".as_ptr().cast()));
    let loaded = bpf(PROG_LOAD, &[program, 2, code_low, code_high, license_low, license_high])?;
    const LOOPBACK: u32 = 1;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&loaded) as u32;
    net.run(|| bpf(LINK_CREATE, &[fd, LOOPBACK, hook, flags]))
}

fn drops(net: &Net) -> Vec<Dropped> {
    super::net::of(net.events(), |event| if let Event::Drop(it) = event { Some(it) } else { None })
}

#[test]
fn by_tc_and_xdp() {
    let cases = [
        (SCHED_CLS, TC_ACT_SHOT, TCX_INGRESS, 0, "TC_INGRESS", "tc"),
        (SCHED_CLS, TC_ACT_SHOT, TCX_EGRESS, 0, "TC_EGRESS", "tc"),
        (XDP, XDP_DROP, XDP_ATTACH, XDP_FLAGS_SKB_MODE, "XDP", "xdp"),
    ];
    for (program, verdict, hook, flags, name, mechanism) in cases {
        let net = Net::new();
        let link = match attach(&net, program, verdict, hook, flags) {
            Ok(link) => link,
            // Links of tc programs are there from 6.6 on.
            Err(error) if program == SCHED_CLS && error.raw_os_error() == Some(libc::EINVAL) => {
                eprintln!("not tested: this kernel links no tc programs");
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let target = "127.0.0.1:7700".parse().unwrap();
        net.try_connect(target, Duration::from_millis(300)).unwrap_err();
        drop(link);
        let connect = net.wait_connect();
        let dropped = drops(&net);
        let ours: Vec<_> = dropped.iter().filter(|it| it.destination == target).collect();
        assert!(!ours.is_empty(), "{name}: {dropped:?}");
        for dropped in ours {
            assert_eq!((dropped.source, dropped.tcp_flags & 2), (connect.local, 2), "{name}");
            assert_eq!(dropped.mechanism.as_deref(), Some(mechanism), "{name}: {dropped:?}");
            // A generic XDP program's drop has a reason of its own in some kernels only.
            assert!(mechanism == "xdp" || dropped.reason.as_deref() == Some(name), "{dropped:?}");
            assert_eq!((dropped.device.as_deref(), dropped.hook.as_deref()), (Some("lo"), None));
        }
    }
}
