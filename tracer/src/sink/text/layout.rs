//! Columns, durations, wrapped lines.

use std::io::{self, Write};

use jiff::Timestamp;

/// Where the text after a keyword begins.
pub(super) const KEYWORD: usize = 9;
/// Narrower terminals get this much, and wrap by themselves.
const NARROWEST: usize = 60;

/// Columns that a text takes, near enough: what the tracer prints is rarely wide or combining.
pub(super) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// `because  text`, further lines below the text; broken between words where a terminal is too narrow.
pub(super) fn keyword(out: &mut impl Write, word: &str, text: &str, width: Option<usize>) -> io::Result<()> {
    let room = width.map_or(usize::MAX, |width| width.max(NARROWEST) - KEYWORD - 2);
    let mut word = word;
    for line in wrap(text, room) {
        writeln!(out, "  {word:KEYWORD$}{line}")?;
        word = "";
    }
    Ok(())
}

pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().filter(|line| line.is_empty() || columns(line) + 1 + columns(word) <= room);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            // A continuation stands further in.
            None => lines.push(format!("  {word}")),
        }
    }
    lines
}

/// Cuts a text that is longer than its room, and says so.
pub(super) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// Three significant digits at most, with a unit that keeps them short.
pub(super) fn duration(ms: f64) -> String {
    match ms {
        ms if ms >= 99_950.0 => format!("{:.0} s", ms / 1000.0),
        ms if ms >= 9995.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms >= 999.5 => format!("{:.2} s", ms / 1000.0),
        ms if ms >= 99.95 => format!("{ms:.0} ms"),
        ms if ms >= 9.995 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// Time of day of an RFC 3339 time, in UTC as cluster logs have it.
pub(super) fn time_of_day(time: &str) -> String {
    time.parse::<Timestamp>().map_or_else(
        |_| super::super::escape::escape(time).into_owned(),
        |time| {
            let text = format!("{time:.3}");
            text.split_once('T').map_or(text.clone(), |(_, time)| time.to_owned())
        },
    )
}

/// `20 s` between two RFC 3339 times; none if they can't be read or nothing lies between.
pub(super) fn span(first: &str, last: &str) -> Option<String> {
    let seconds = last.parse::<Timestamp>().ok()?.duration_since(first.parse().ok()?).as_secs_f64();
    (seconds > 0.0).then(|| duration(seconds * 1000.0))
}
