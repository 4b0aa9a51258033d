//! From bytes to events. Pure and total: any bytes give a record or a [`DecodeError`], which the caller counts.
//!
//! One file per hook family, named as in `tracer-common`. What only the running kernel can name (reasons, addresses) is
//! asked of [`Names`].

use std::net::{Ipv6Addr, SocketAddr};

use tracer_common::event::{Header, kind};
use zerocopy::FromBytes;

use super::{Actor, Record, Role};

mod connect;
mod dns;
mod exchange;
mod process;
mod signal;
mod skb_drop;
mod syn;
#[cfg(test)]
mod tests;

pub use connect::connect_attempt;
pub use dns::unanswered_dns;
pub use exchange::{flight, opaque_connection, open};
pub use syn::unanswered_syn;

/// What the running kernel calls things.
pub trait Names {
    /// `NETFILTER_DROP` of a drop reason's number; `None` where it has no name.
    fn drop_reason(&mut self, reason: u32) -> Option<String>;
    /// `NO_SOCKET` of a reset reason's number.
    fn reset_reason(&mut self, reason: u32) -> Option<String>;
    /// The function that an address lies in, without compiler suffixes.
    fn symbol(&mut self, address: u64) -> Option<String>;
}

/// Names nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn drop_reason(&mut self, _reason: u32) -> Option<String> {
        None
    }

    fn reset_reason(&mut self, _reason: u32) -> Option<String> {
        None
    }

    fn symbol(&mut self, _address: u64) -> Option<String> {
        None
    }
}

/// Why bytes are no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("an event of {found} bytes where {expected} are needed")]
    Short { expected: usize, found: usize },
    #[error("no event has kind {0}")]
    Kind(u16),
    #[error("no connection's end has role {0}")]
    Role(u32),
    /// Its first word looked like a method, and nothing else like HTTP: no failure, but a count.
    #[error("the request is no HTTP request")]
    NotHttp,
    #[error("the message on the DNS port is no DNS message")]
    NotDns,
}

/// Decodes one event as its program wrote it. The bytes needn't be aligned and may be followed by others.
///
/// # Errors
/// Where the bytes are no event, or one of something that turned out to be another protocol.
pub fn decode(bytes: &[u8], names: &mut dyn Names) -> Result<Record, DecodeError> {
    let header: Header = prefix(bytes)?;
    let event = match header.kind {
        kind::EXCHANGE => exchange::event(bytes)?,
        kind::CONNECT => connect::event(bytes)?,
        kind::KFREE_SKB => skb_drop::drop(bytes, names)?,
        kind::ICMP_SEND => skb_drop::icmp(bytes)?,
        kind::DNS => dns::event(bytes)?,
        kind::MARK_VICTIM | kind::SCHED_PROCESS_EXIT => process::event(bytes)?,
        kind::CGROUP_MKDIR | kind::CGROUP_RMDIR => process::cgroup(bytes)?,
        other => signal::event(signal::kind(other).ok_or(DecodeError::Kind(other))?, bytes, names)?,
    };
    Ok(Record { at: header.at_ns, event })
}

/// Reads a wire type from the first bytes.
fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    match T::read_from_prefix(bytes) {
        Ok((value, _)) => Ok(value),
        // Unaligned bytes are copied, so only their number can be wrong.
        Err(_) => Err(DecodeError::Short { expected: size_of::<T>(), found: bytes.len() }),
    }
}

/// An address as people write it: IPv4-mapped is IPv4.
fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(bytes).to_canonical(), port)
}

/// The address on the wire, where a translation is known.
fn translated(bytes: [u8; 16], port: u16) -> Option<SocketAddr> {
    (port != 0).then(|| address(bytes, port))
}

/// A NUL-terminated name.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn actor(actor: tracer_common::Actor) -> Actor {
    Actor { tgid: actor.tgid, tid: actor.tid }
}

/// Process 0 is the idle task: nobody.
fn known(wire: tracer_common::Actor) -> Option<Actor> {
    (wire.tgid != 0).then(|| actor(wire))
}

fn role(role: u32) -> Result<Role, DecodeError> {
    use tracer_common::conn::role;
    match u8::try_from(role) {
        Ok(role::CLIENT) => Ok(Role::Client),
        Ok(role::SERVER) => Ok(Role::Server),
        _ => Err(DecodeError::Role(role)),
    }
}
