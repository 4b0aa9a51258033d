//! What a TLS handshake looked like from the client's end, and whether it failed for certain.

use serde::{Deserialize, Serialize};

/// The alert levels and descriptions that matter (RFC 8446 section 6).
const FATAL: u8 = 2;
/// Two bytes of alert, the inner type and a tag of 16 (RFC 8446 section 5.2); no other message is that short.
const ENCRYPTED_ALERT: u16 = 19;
/// A `Finished` alone: the header, a hash of 32 or 48 bytes, the inner type and the tag.
const FINISHED: [u16; 2] = [4 + 32 + 17, 4 + 48 + 17];

/// The records of a handshake. What looks like application data may be an encrypted message of TLS 1.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Level and description of an alert in the clear.
    pub alert_sent: Option<(u8, u8)>,
    pub alert_received: Option<(u8, u8)>,
    /// The server's first bytes are no TLS record; those of HTTP.
    pub not_tls: bool,
    pub http: bool,
    /// The records couldn't be followed to the end, or went on beyond the handshake.
    pub unclear: bool,
    pub handshakes_sent: u8,
    pub handshakes_received: u8,
    pub cipher_changes_sent: u8,
    pub cipher_changes_received: u8,
    /// The client sent an encrypted alert before the server closed.
    #[serde(default)]
    pub left: bool,
    /// Records that look like application data.
    pub data_sent: u8,
    pub data_received: u8,
    /// Lengths of such records.
    pub first_sent: u16,
    pub last_sent: u16,
    pub last_received: u16,
    /// Such records received after the first one sent.
    pub answers: u8,
}

/// How a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The server doesn't speak TLS; `true`: it speaks HTTP.
    NotTls(bool),
    /// An alert in the clear: by the client or the server, and which.
    Alert { by_client: bool, description: u8 },
    /// The client sent an alert instead of its `Finished`; which one is encrypted.
    ClientRefused,
    /// The server answered the client's certificate, or the lack of one, with nothing but an alert.
    ServerRefused,
    /// The server ended the connection after so many records.
    ServerClosed(u32),
    /// It was well, and the client left without sending anything. Some verify the certificate only then (nginx does); a
    /// health check does the same.
    Unused,
}

impl Tls {
    /// How the handshake failed, if it failed for certain. `server_closed`: the server ended the connection first.
    pub fn failure(&self, server_closed: bool) -> Option<Handshake> {
        if self.unclear {
            return None;
        }
        if self.not_tls {
            return Some(Handshake::NotTls(self.http));
        }
        // Before its level was given up in TLS 1.3, a warning didn't end the handshake.
        let fatal = |alert: Option<(u8, u8)>| alert.filter(|(level, _)| *level == FATAL).map(|(_, which)| which);
        if let Some(description) = fatal(self.alert_received) {
            return Some(Handshake::Alert { by_client: false, description });
        }
        if let Some(description) = fatal(self.alert_sent) {
            return Some(Handshake::Alert { by_client: true, description });
        }
        // In TLS 1.3 the server's flight is encrypted, and the client has sent one `ClientHello`, or two after a retry; in
        // TLS 1.2 it sends two messages more before anything looks like application data.
        let encrypted = self.handshakes_sent <= 2 && self.handshakes_received > 0 && self.data_received > self.answers;
        if encrypted && self.data_sent == 1 && self.first_sent == ENCRYPTED_ALERT {
            return Some(Handshake::ClientRefused);
        }
        // More than a `Finished` was asked of the client: a certificate (RFC 8446 section 4.4.2).
        let asked = self.data_sent > 0 && !FINISHED.contains(&self.first_sent);
        let only_alert =
            self.answers == 1 && self.last_received == ENCRYPTED_ALERT && self.last_sent != ENCRYPTED_ALERT;
        if encrypted && asked && only_alert && (server_closed || self.data_sent > 1) {
            return Some(Handshake::ServerRefused);
        }
        // In TLS 1.2 the goodbye is an alert by its type.
        let changed = self.cipher_changes_sent > 0 && self.cipher_changes_received > 0;
        let tls12 = changed && self.data_sent == 0 && self.data_received == 0;
        let tls13 = encrypted
            && FINISHED.contains(&self.first_sent)
            && (self.data_sent == 1 || self.data_sent == 2 && self.last_sent == ENCRYPTED_ALERT);
        // To a goodbye the server may answer with the first FIN.
        if (!server_closed || self.left) && (tls12 || tls13) {
            return Some(Handshake::Unused);
        }
        let unfinished = self.data_sent == 0 && self.cipher_changes_sent == 0;
        let records = u32::from(self.handshakes_received) + u32::from(self.data_received);
        (unfinished && server_closed && records > 0).then_some(Handshake::ServerClosed(records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake of TLS 1.3 up to the server's flight.
    const FLIGHT: Tls = Tls {
        alert_sent: None,
        alert_received: None,
        not_tls: false,
        http: false,
        unclear: false,
        left: false,
        handshakes_sent: 1,
        handshakes_received: 1,
        cipher_changes_sent: 1,
        cipher_changes_received: 1,
        data_sent: 0,
        data_received: 4,
        first_sent: 0,
        last_sent: 0,
        last_received: 69,
        answers: 0,
    };

    #[test]
    fn what_a_healthy_connection_looks_like_is_no_failure() {
        let finished = Tls { data_sent: 3, first_sent: 69, data_received: 8, answers: 4, last_received: 19, ..FLIGHT };
        let server_said_goodbye = Tls { answers: 1, ..finished };
        let certificate = Tls { first_sent: 2000, ..finished };
        for tls in [finished, server_said_goodbye, certificate, FLIGHT] {
            assert_eq!(tls.failure(true), None, "{tls:?}");
        }
        assert_eq!(Tls { alert_received: Some((1, 112)), data_sent: 2, ..FLIGHT }.failure(true), None);
        assert_eq!(Tls { not_tls: true, unclear: true, ..FLIGHT }.failure(true), None);
    }

    #[test]
    fn failures_by_their_shape() {
        let refused = Tls { data_sent: 1, first_sent: 19, ..FLIGHT };
        assert_eq!(refused.failure(false), Some(Handshake::ClientRefused));
        let server = Tls { data_sent: 2, first_sent: 25, answers: 1, last_received: 19, ..FLIGHT };
        assert_eq!(server.failure(true), Some(Handshake::ServerRefused));
        assert_eq!(Tls { last_sent: 19, ..server }.failure(true), None);
        let left = Tls { data_sent: 2, first_sent: 53, last_sent: 19, ..FLIGHT };
        assert_eq!((left.failure(false), left.failure(true)), (Some(Handshake::Unused), None));
        assert_eq!(Tls { left: true, ..left }.failure(true), Some(Handshake::Unused));
        let left_tls12 = Tls { handshakes_sent: 3, handshakes_received: 6, data_received: 0, ..FLIGHT };
        assert_eq!((left_tls12.failure(false), left_tls12.failure(true)), (Some(Handshake::Unused), None));
        assert_eq!(Tls { left: true, ..left_tls12 }.failure(true), Some(Handshake::Unused));
        let unknown_ca = Tls { alert_sent: Some((2, 48)), ..FLIGHT };
        assert_eq!(unknown_ca.failure(false), Some(Handshake::Alert { by_client: true, description: 48 }));
        let closed = Tls { cipher_changes_sent: 0, ..FLIGHT };
        assert_eq!((closed.failure(true), closed.failure(false)), (Some(Handshake::ServerClosed(5)), None));
    }
}
