//! `tls-handshake`: an alert or a failure in the TLS handshake; which alert.

use super::common::{logs_command, target_label, target_origin};
use crate::{
    correlate::{Chain, Leaf},
    event::Handshake,
    verdict::{Context, Judgement, cause, evidence},
};

pub(super) fn judge(chain: &Chain<'_>, context: &Context<'_>) -> Option<Judgement> {
    let Leaf::End(leaf) = &chain.leaf else { return None };
    let signal = &leaf.signal;
    let failure = signal.handshake_failure()?;
    let who = target_label(&leaf.target);
    let (confidence, summary, seen) = match failure {
        Handshake::NotTls(http) => {
            let what = if http { "HTTP without TLS" } else { "something that isn't TLS" };
            (0.95, format!("{who} speaks {what}, and its client began a TLS handshake"), what.to_owned())
        }
        Handshake::Alert { by_client, description } => {
            let (name, meaning) = alert(description);
            let summary = match (by_client, of_certificate(description)) {
                (true, true) => format!("the certificate of {who} was rejected: {meaning}"),
                (true, false) => format!("the client of {who} broke the TLS handshake off: {meaning}"),
                (false, true) => format!("{who} rejected the client's certificate: {meaning}"),
                (false, false) => format!("{who} refused the TLS handshake: {meaning}"),
            };
            let sender = if by_client { "the client" } else { "the server" };
            (0.95, summary, format!("{sender} sent the fatal alert {name} ({description})"))
        }
        Handshake::ClientRefused => (
            0.9,
            format!("the client of {who} broke the TLS handshake off after it had seen the server's certificate"),
            "the client sent an encrypted alert instead of its Finished (TLS 1.3: which one can't be seen)".to_owned(),
        ),
        Handshake::ServerRefused => (
            0.85,
            format!("{who} rejected the certificate of its client, or the lack of one"),
            "the server asked for a certificate and answered with nothing but an encrypted alert (TLS 1.3)".to_owned(),
        ),
        Handshake::Unused => (
            0.7,
            format!(
                "the client of {who} left after the TLS handshake: it didn't accept what it had learned of the server"
            ),
            "the client ended the connection after the handshake without sending anything".to_owned(),
        ),
        Handshake::ServerClosed(records) => (
            0.7,
            format!("{who} ended the connection in the middle of the TLS handshake"),
            format!("the server closed after {records} records, before the client had finished"),
        ),
    };
    let (local, remote) = (signal.local, signal.remote);
    let mut found = evidence("tls", context.at(leaf.at), format!("{local} → {remote}: {seen}"));
    if let Handshake::Alert { by_client, description } = failure {
        let sender = if by_client { "client" } else { "server" };
        found = found.with("alert", alert(description).0).with("description", description).with("sender", sender);
    }
    let origin = target_origin(&leaf.target);
    let mut judgement = Judgement::new(cause::TLS_HANDSHAKE, confidence, summary)
        .because([found])
        .next(format!("openssl s_client -connect {remote} -showcerts </dev/null"));
    if let Some(logs) = logs_command(&origin) {
        judgement = judgement.next(logs);
    }
    Some(judgement.origin(origin))
}

/// Name and meaning of an alert (RFC 8446 section 6.2, RFC 5246 section 7.2.2).
fn alert(description: u8) -> (&'static str, &'static str) {
    match description {
        10 => ("unexpected_message", "a message out of turn"),
        20 => ("bad_record_mac", "a record that can't be decrypted"),
        40 => ("handshake_failure", "no parameters that both accept, or a certificate is missing"),
        42 => ("bad_certificate", "the certificate is broken or doesn't fit"),
        43 => ("unsupported_certificate", "a kind of certificate that isn't supported"),
        44 => ("certificate_revoked", "the certificate was revoked"),
        45 => ("certificate_expired", "the certificate has expired or isn't valid yet"),
        46 => ("certificate_unknown", "the certificate isn't acceptable"),
        47 => ("illegal_parameter", "a parameter out of range"),
        48 => ("unknown_ca", "its issuer isn't trusted"),
        49 => ("access_denied", "access denied"),
        50 => ("decode_error", "a message that can't be decoded"),
        51 => ("decrypt_error", "a signature or Finished that doesn't verify"),
        70 => ("protocol_version", "no TLS version that both accept"),
        71 => ("insufficient_security", "ciphers that are too weak"),
        80 => ("internal_error", "an internal error"),
        86 => ("inappropriate_fallback", "a fallback that wasn't needed"),
        109 => ("missing_extension", "an extension is missing"),
        112 => ("unrecognized_name", "the server name isn't known there"),
        115 => ("unknown_psk_identity", "the pre-shared key isn't known"),
        116 => ("certificate_required", "a client certificate is required"),
        120 => ("no_application_protocol", "no application protocol (ALPN) that both accept"),
        _ => ("another alert", "an alert of another kind"),
    }
}

/// Whether the alert is about the other side's certificate.
fn of_certificate(description: u8) -> bool {
    matches!(description, 42..=46 | 48 | 116)
}
