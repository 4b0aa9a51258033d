//! Written is read, and what isn't a capture says so.

use super::*;
use crate::event::{Actor, Event, Signal, SignalKind};

fn header() -> Header {
    let options = Options {
        min_status: 500,
        wall_offset_ns: -5,
        node: Some("n1".to_owned()),
        cgroup: None,
        selection: crate::correlate::Selection::default(),
        notes: vec!["no reset reasons".to_owned()],
    };
    Header::new(options, "6.8.0".to_owned())
}

fn records() -> Vec<Record> {
    let signal = Signal {
        signal: SignalKind::TcpSendReset,
        conn: None,
        cgroup: u64::MAX,
        netns: 1,
        local: "10.0.0.1:80".parse().unwrap(),
        remote: "[fd00::1]:4000".parse().unwrap(),
        actor: Actor { tgid: 1, tid: 2 },
        comm: "a \"b\"\n".to_owned(),
        state: 1,
        error: 0,
        reason: None,
        no_socket: true,
        protocol: 6,
        bytes_acked: 1,
        bytes_received: 2,
        established_ns: 3,
        reset_received: false,
        client: true,
        connector: None,
        local_closed_first: false,
        remote_closed_first: false,
        tls: None,
    };
    let events = [
        Event::Signal(signal),
        Event::Cgroup { id: 7, path: "/kubepods".to_owned() },
        Event::Host(crate::event::HostFact::Listeners { netns: 1, ports: vec![80] }),
        Event::Lost { totals: vec![("failures".to_owned(), 3)] },
        Event::Tick,
    ];
    (u64::MAX - 10..).zip(events).map(|(at, event)| Record { at, event }).collect()
}

fn written() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header(), &Snapshot::empty()).unwrap();
    records().iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Reader<&[u8]>, Vec<Record>), ReadError> {
    let mut reader = Reader::new(Path::new("c.ndjson"), bytes)?;
    let records = reader.by_ref().collect::<Result<_, _>>()?;
    Ok((reader, records))
}

#[test]
fn written_is_read() {
    let bytes = written();
    assert_eq!(bytes, written(), "the same bytes every time");
    let (reader, found) = read(&bytes).unwrap();
    assert_eq!((reader.header.clone(), reader.torn()), (header(), 0));
    assert_eq!(found, records());
}

#[test]
fn a_torn_last_line_is_skipped_and_counted() {
    let bytes = written();
    let (reader, found) = read(&bytes[..bytes.len() - 5]).unwrap();
    assert_eq!((reader.torn(), found.len()), (1, records().len() - 1));
    // Only its line end is missing.
    let (reader, found) = read(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!((reader.torn(), found), (0, records()));
    for len in 0..bytes.len() {
        let _ = read(&bytes[..len]);
    }
}

#[test]
fn errors_name_file_and_line() {
    let text = String::from_utf8(written()).unwrap();
    let error = |text: &str| read(text.as_bytes()).err().unwrap().to_string();
    assert!(error("").contains("`c.ndjson` is no capture"));
    assert!(error("{\"kind\":\"List\"}\n").contains("is no capture"));
    assert!(error(&text.replacen("\"schema\":1", "\"schema\":9", 1)).contains("version 9 of the capture format"));
    let first = text.lines().next().unwrap();
    assert!(error(&format!("{first}\n")).contains("ends before its cluster snapshot"));
    let broken = error(&text.replacen("\"id\":7", "\"id\":\"seven\"", 1));
    assert!(broken.starts_with("`c.ndjson`, line 4: "), "{broken}");
}
