//! Capture at system calls, as other tools do it: the buffer's address is kept from entry to exit, and what the call has
//! filled or sent is copied. Kinder than they are: what is copied goes no further.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use tracer_tests::run::Place;

const SCRIPT: &str = r#"
struct piece { unsigned long base; unsigned long len; };
BEGIN { printf("ready\n"); }
tracepoint:syscalls:sys_enter_read, tracepoint:syscalls:sys_enter_write
/comm == "nginx" || comm == "wrk"/ { @at[tid] = (uint64)args->buf; }
tracepoint:syscalls:sys_enter_recvfrom /comm == "nginx" || comm == "wrk"/ { @at[tid] = (uint64)args->ubuf; }
tracepoint:syscalls:sys_enter_sendto /comm == "nginx" || comm == "wrk"/ { @at[tid] = (uint64)args->buff; }
tracepoint:syscalls:sys_enter_writev
/comm == "nginx" || comm == "wrk"/ { @at[tid] = ((struct piece *)args->vec)->base; }
tracepoint:syscalls:sys_exit_read, tracepoint:syscalls:sys_exit_write, tracepoint:syscalls:sys_exit_recvfrom,
tracepoint:syscalls:sys_exit_sendto, tracepoint:syscalls:sys_exit_writev
/@at[tid]/ {
  if (args->ret > 0) { @bytes[tid] = buf(@at[tid], 64); @messages = count(); }
  delete(@at[tid]);
}
END { clear(@at); clear(@bytes); }
"#;

/// `bpftrace` with that script.
pub(crate) struct Peer {
    child: Child,
}

impl Peer {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let script = directory.join("peer.bt");
        fs::write(&script, SCRIPT)?;
        // The tracepoints' formats are in a file system that isn't mounted everywhere; ours is seen by nobody else.
        let line = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
                    exec bpftrace \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", line]).arg(script);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Place::default().apply(&mut command)?;
        let mut child = command.spawn().context("cannot run bpftrace")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let ready = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "ready");
        if !ready {
            let output = child.wait_with_output()?;
            bail!("bpftrace doesn't run: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { child })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
