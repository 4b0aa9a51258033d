//! Sockets that existed before the tracer: one pass of an iterator over every process's files makes their records.

use std::io::{ErrorKind, Read};

use aya::Btf;
use aya::programs::{Iter, ProgramError};
use aya::sys::SyscallError;

/// The kernel pauses a pass that writes nothing after a million objects (`kernel/bpf/bpf_iter.c`); no node has so many
/// files.
const ROUNDS: usize = 100;

/// Loads the iterator's program.
pub(super) fn load(program: &mut Iter, target: &str) -> Result<(), ProgramError> {
    // Only to find one function's number; it takes some ten MiB, and goes at once.
    program.load(target, &Btf::from_sys_fs()?)
}

/// Lets it see every open file, once: reading runs it, and it writes nothing.
pub(super) fn take_over(program: &mut Iter) -> Result<(), ProgramError> {
    let failed = |io_error| ProgramError::from(SyscallError { call: "reading the iterator", io_error });
    let link = program.attach()?;
    let mut file = program.take_link(link)?.into_file().map_err(|error| failed(std::io::Error::other(error)))?;
    let mut nothing = [0; 16];
    for _ in 0..ROUNDS {
        match file.read(&mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
