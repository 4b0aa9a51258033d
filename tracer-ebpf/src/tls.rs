//! TLS handshakes, as far as they can be read: record headers and plaintext alerts (RFC 8446 sections 5.1 and 6; RFC 5246
//! likewise). Only what user space needs to tell a failed handshake is kept; after the handshake nothing is looked at.

use tracer_common::conn::{Conn, conn_flag, protocol, role, tls_flag};

use crate::{
    conn,
    http::{RECEIVED, SENT, Segment},
    packet::load,
};

/// Record types.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEADER: u32 = 5;
/// A server's flight of TLS 1.3 has six records, which may stand in one segment.
const GLUED: usize = 8;
/// Behind so many records of application data the handshake is over.
const ENOUGH: u8 = 3;
/// An alert as application data: two bytes, the type, a tag of 16 (RFC 8446 section 5.2).
const ENCRYPTED_ALERT: u16 = 19;

/// Whether the handshake is still to be followed.
#[inline(always)]
pub(crate) fn follows(conn: &Conn) -> bool {
    conn.role == role::CLIENT && conn.tls.flags & !tls_flag::ALERT_SENT == 0 && conn.flags & conn_flag::JOINED == 0
}

/// Follows the records that begin in a new segment.
#[inline(always)]
pub(crate) fn records(conn: &mut Conn, segment: &Segment) {
    let d = segment.direction & 1;
    // `is_new` has counted this segment already.
    if conn.bytes[d] == u64::from(segment.len) {
        conn.tls.next[d] = segment.seq;
    }
    let mut at = conn.tls.next[d].wrapping_sub(segment.seq);
    for _ in 0..GLUED {
        // A record that began in a segment which hasn't come yet counts as far ahead, too.
        if at >= segment.len {
            break;
        }
        if segment.len - at < HEADER {
            conn.tls.flags |= tls_flag::LOST;
            break;
        }
        let from = segment.at.wrapping_add(at);
        let Some(header) = load::<[u8; 5]>(segment.skb, from) else { break };
        if header[0] < CHANGE_CIPHER_SPEC || header[0] > APPLICATION_DATA || header[1] != 3 {
            foreign(conn, segment, &header, at);
            break;
        }
        let length = u16::from_be_bytes([header[3], header[4]]);
        if header[0] == ALERT && length == 2 {
            let alert = load::<[u8; 2]>(segment.skb, from.wrapping_add(HEADER)).unwrap_or_default();
            conn.tls.alert[d] = u16::from_be_bytes(alert);
        } else if d == SENT
            && (header[0] == ALERT || header[0] == APPLICATION_DATA && length == ENCRYPTED_ALERT)
            && conn.flags & conn_flag::REMOTE_CLOSED_FIRST == 0
        {
            conn.tls.flags |= tls_flag::ALERT_SENT;
        }
        record(conn, d, header[0], length);
        at = at.wrapping_add(HEADER + u32::from(length));
    }
    conn.tls.next[d] = segment.seq.wrapping_add(at);
}

/// Bytes that are no record: the server speaks something else, or the place was lost.
#[inline(always)]
fn foreign(conn: &mut Conn, segment: &Segment, bytes: &[u8; 5], at: u32) {
    let first = at == 0 && conn.bytes[segment.direction & 1] == u64::from(segment.len);
    let from_server = (segment.direction == SENT) == conn::is_server(conn);
    if !first || !from_server {
        conn.tls.flags |= tls_flag::LOST;
        return;
    }
    conn.tls.flags |= tls_flag::NOT_TLS;
    if *bytes == *b"HTTP/" {
        conn.tls.flags |= tls_flag::HTTP;
    }
}

/// Notes one record by its direction.
#[inline(always)]
fn record(conn: &mut Conn, d: usize, kind: u8, length: u16) {
    let tls = &mut conn.tls;
    match kind {
        HANDSHAKE => tls.handshakes[d] = tls.handshakes[d].saturating_add(1),
        CHANGE_CIPHER_SPEC => tls.cipher_changes[d] = tls.cipher_changes[d].saturating_add(1),
        APPLICATION_DATA => {
            if tls.data[d] == 0 {
                tls.first[d] = length;
            }
            tls.last[d] = length;
            tls.data[d] = tls.data[d].saturating_add(1);
            if d == RECEIVED && tls.data[SENT] > 0 {
                tls.answers = tls.answers.saturating_add(1);
            }
            if tls.data[SENT] > ENOUGH && tls.answers > ENOUGH {
                tls.flags |= tls_flag::DONE;
            }
        }
        _ => {}
    }
}

/// Whether the records of a client that ends may be those of a handshake that failed; user space decides.
#[inline(always)]
pub(crate) fn may_have_failed(conn: &Conn) -> bool {
    let tls = &conn.tls;
    if conn.protocol != protocol::TLS
        || conn.role != role::CLIENT
        || tls.flags & (tls_flag::LOST | tls_flag::DONE | tls_flag::TOLD) != 0
    {
        return false;
    }
    let by_server = conn.flags & (conn_flag::REMOTE_CLOSED_FIRST | conn_flag::RST_RECEIVED) != 0;
    let readable = tls.flags & tls_flag::NOT_TLS != 0 || tls.alert[SENT] | tls.alert[RECEIVED] != 0;
    let by_client = tls.data[SENT] == 1 && tls.first[SENT] == ENCRYPTED_ALERT;
    let unfinished = tls.data[SENT] == 0 && tls.cipher_changes[SENT] == 0 && by_server;
    let refused = tls.answers == 1 && tls.last[RECEIVED] == ENCRYPTED_ALERT && (by_server || tls.data[SENT] > 1);
    // Finished, and nothing but a goodbye, which the server may answer with the first FIN.
    let left = conn.flags & conn_flag::LOCAL_CLOSED_FIRST != 0 || tls.flags & tls_flag::ALERT_SENT != 0;
    let nothing = tls.data[SENT] < 2 || tls.data[SENT] == 2 && tls.last[SENT] == ENCRYPTED_ALERT;
    let unused = left && nothing && tls.cipher_changes[SENT] > 0;
    readable || by_client || unfinished || refused || unused
}
