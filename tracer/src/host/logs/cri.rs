//! The container runtimes' log format: `2006-01-02T15:04:05.999999999Z07:00 stdout P text`, tags separated by colons, `P`
//! for a part of a line and `F` for its end (kubernetes/cri-client/pkg/logs/logs.go).

use std::ops::RangeInclusive;

/// Kept of a line.
const TEXT: usize = 4096;
/// Lines kept of a file's interval: the last ones.
const LINES: usize = 2000;

/// A logged line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Nanoseconds since the Unix epoch.
    pub at: i64,
    pub stderr: bool,
    pub text: String,
}

/// Puts lines together from their parts.
#[derive(Debug, Default)]
pub(super) struct Lines {
    done: std::collections::VecDeque<Line>,
    /// The unfinished line of each stream.
    parts: [Option<Line>; 2],
}

impl Lines {
    /// Takes one line of the file; what isn't one of a runtime is left out.
    pub(super) fn push(&mut self, bytes: &[u8], within: &RangeInclusive<i64>) {
        let Some((line, full)) = parse(bytes) else { return };
        let part = &mut self.parts[usize::from(line.stderr)];
        match part {
            Some(begun) => append(&mut begun.text, &line.text),
            None => *part = Some(line),
        }
        if full
            && let Some(line) = part.take()
            && within.contains(&line.at)
        {
            self.done.push_back(line);
            if self.done.len() > LINES {
                self.done.pop_front();
            }
        }
    }

    /// The lines; one whose end isn't written yet is left out.
    pub(super) fn finish(self) -> Vec<Line> {
        self.done.into()
    }
}

/// A line, and whether it ends here.
fn parse(bytes: &[u8]) -> Option<(Line, bool)> {
    let mut fields = bytes.splitn(4, |byte| *byte == b' ');
    let time: jiff::Timestamp = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let stderr = match fields.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let full = match fields.next()?.split(|byte| *byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let text = fields.next()?;
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = String::from_utf8_lossy(text.get(..TEXT).unwrap_or(text)).into_owned();
    Some((Line { at: i64::try_from(time.as_nanosecond()).ok()?, stderr, text }, full))
}

fn append(text: &mut String, more: &str) {
    let room = TEXT.saturating_sub(text.len());
    text.push_str(&more[..more.floor_char_boundary(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let (line, full) = parse(b"2026-01-01T00:00:00.000000001Z stderr F:tag  two  blanks\n").unwrap();
        assert_eq!(line, Line { at: 1_767_225_600_000_000_001, stderr: true, text: " two  blanks".to_owned() });
        assert!(full);
        assert!(!parse(b"2026-01-01T00:00:00Z stdout P x\n").unwrap().1);
        assert_eq!(parse(b"2026-01-01T00:00:00Z stdout F \n").unwrap().0.text, "");
        for bad in
            [&b"{\"log\":\"docker\"}\n"[..], b"2026-01-01T00:00:00Z stdlog F x\n", b"now stdout F x\n", b"\xff\n"]
        {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn parts_are_bounded() {
        let mut lines = Lines::default();
        let part = format!("2026-01-01T00:00:00Z stdout P {}\n", "é".repeat(TEXT));
        for _ in 0..3 {
            lines.push(part.as_bytes(), &(0..=i64::MAX));
        }
        lines.push(b"2026-01-01T00:00:00Z stdout F end\n", &(0..=i64::MAX));
        assert_eq!(lines.finish()[0].text.len(), TEXT);
    }
}
