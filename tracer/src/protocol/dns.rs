//! DNS messages (RFC 1035), reduced to the question and what was answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{Packet, QTYPE, TYPE};

/// What a message says. Total: bytes that are no DNS message give `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Lower case, without the final dot.
    pub name: String,
    /// `A`, `AAAA`, …; `TYPE65280` where it has no name.
    pub query_type: String,
    pub rcode: u8,
    pub addresses: Vec<IpAddr>,
}

/// RFC 1035 section 4.1.1.
const HEADER: usize = 12;
/// Where the header counts answers, authorities and additional records.
const COUNTS: [std::ops::Range<usize>; 3] = [6..8, 8..10, 10..12];

/// Parses a message, also one of which only the beginning was captured: then as many sections as are whole count.
pub fn message(bytes: &[u8]) -> Option<Message> {
    let rcode = bytes.get(3)? & 0x0f;
    if bytes.len() < HEADER {
        return None;
    }
    if let Ok(packet) = Packet::parse(bytes) {
        return Some(read(&packet, rcode));
    }
    // Without the additional records, without the authorities, without the answers; at last the bare question.
    let mut shorter = bytes.to_vec();
    for count in COUNTS.into_iter().rev() {
        shorter.get_mut(count)?.fill(0);
        if let Ok(packet) = Packet::parse(&shorter) {
            return Some(read(&packet, rcode));
        }
    }
    question(bytes, rcode)
}

/// The first question, whatever its type is.
fn question(bytes: &[u8], rcode: u8) -> Option<Message> {
    if bytes[4..6] == [0, 0] {
        return None;
    }
    let mut rest = &bytes[HEADER..];
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        // RFC 1035 section 2.3.4; a question's name is the first, so it is never compressed.
        if *length == 0 {
            rest = after;
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(*length)).filter(|_| *length < 64)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = after;
    }
    let [high, low, ..] = rest else { return None };
    let query_type = format!("TYPE{}", u16::from_be_bytes([*high, *low]));
    Some(Message { name: labels.join("."), query_type, rcode, addresses: Vec::new() })
}

fn read(packet: &Packet<'_>, rcode: u8) -> Message {
    let mut message = Message { rcode, ..Message::default() };
    if let Some(question) = packet.questions.first() {
        message.name = question.qname.to_string().trim_end_matches('.').to_ascii_lowercase();
        message.query_type = match question.qtype {
            QTYPE::TYPE(TYPE::Unknown(number)) => format!("TYPE{number}"),
            QTYPE::TYPE(named) => format!("{named:?}"),
            other => format!("{other:?}"),
        };
    }
    message.addresses = packet
        .answers
        .iter()
        .filter_map(|answer| match &answer.rdata {
            RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from(a.address))),
            RData::AAAA(aaaa) => Some(IpAddr::V6(Ipv6Addr::from(aaaa.address))),
            _ => None,
        })
        .collect();
    message
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::A;
    use simple_dns::{CLASS, Name, PacketFlag, QCLASS, Question, RCODE, ResourceRecord};

    use super::*;

    fn answer(addresses: u32) -> Vec<u8> {
        let name = Name::new_unchecked("Redis.Shop.svc.cluster.local");
        let mut packet = Packet::new_reply(7);
        packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
        packet.questions.push(Question::new(name.clone(), TYPE::A.into(), QCLASS::CLASS(CLASS::IN), false));
        for n in 0..addresses {
            let rdata = RData::A(A { address: 0x0a00_0001 + n });
            packet.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 30, rdata));
        }
        if addresses == 0 {
            *packet.rcode_mut() = RCODE::NameError;
        }
        packet.build_bytes_vec_compressed().unwrap()
    }

    #[test]
    fn answers_and_refusals() {
        let found = message(&answer(2)).unwrap();
        assert_eq!((found.name.as_str(), found.query_type.as_str()), ("redis.shop.svc.cluster.local", "A"));
        assert_eq!(found.addresses, ["10.0.0.1", "10.0.0.2"].map(|address| address.parse::<IpAddr>().unwrap()));
        let missing = message(&answer(0)).unwrap();
        assert_eq!((missing.rcode, missing.addresses.len()), (3, 0));
    }

    #[test]
    fn a_cut_message_still_names_its_question() {
        let whole = answer(40);
        let found = message(&whole[..512]).unwrap();
        assert_eq!((found.name.as_str(), found.rcode), ("redis.shop.svc.cluster.local", 0));
    }

    #[test]
    fn unknown_types_have_numbers() {
        let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0];
        bytes.extend([0xff, 0x00, 0, 1]);
        assert_eq!(message(&bytes).unwrap().query_type, "TYPE65280");
    }

    #[test]
    fn total_on_garbage() {
        let whole = answer(3);
        for len in 0..whole.len() {
            let _ = message(&whole[..len]);
        }
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 20) as u8;
            }
            let _ = message(&bytes);
        }
        assert_eq!(message(b""), None);
        assert_eq!(message(&[0xff; 11]), None);
    }
}
