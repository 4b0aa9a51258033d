//! Lines to messages: a stack trace belongs to the message before it, as Java, Python, Go, Node and Rust print them.

use super::Line;

/// Lines of one message that are kept, and its bytes.
const LINES: usize = 60;
const BYTES: usize = 4096;
/// What one `write` printed is stamped within microseconds; lines further apart don't belong together.
const GAP_NS: i64 = 50_000_000;

/// A logged message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the Unix epoch, of its first line.
    pub at: i64,
    pub stderr: bool,
    pub text: String,
}

/// How the lines after a message's first one go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plain,
    /// Python: up to the first line that isn't indented, which names the exception.
    Traceback,
    /// Go: functions and their places, with blank lines between goroutines.
    Goroutine,
    /// Rust: the message comes on the next line.
    Panicked,
}

#[derive(Debug)]
struct Open {
    entry: Entry,
    mode: Mode,
    last: i64,
    lines: usize,
    /// Blank lines that count if the trace goes on.
    blank: usize,
}

/// Messages in the order of their first lines. Streams are told apart.
pub fn group(lines: &[Line]) -> Vec<Entry> {
    let mut done: Vec<Entry> = Vec::new();
    let mut open: [Option<Open>; 2] = [None, None];
    for line in lines {
        let slot = &mut open[usize::from(line.stderr)];
        if let Some(current) = slot
            && line.at.saturating_sub(current.last) <= GAP_NS
            && current.takes(&line.text)
        {
            current.add(line);
            continue;
        }
        done.extend(slot.take().map(|open| open.entry));
        if !line.text.trim().is_empty() {
            let entry = Entry { at: line.at, stderr: line.stderr, text: line.text.clone() };
            *slot = Some(Open { entry, mode: mode(&line.text, Mode::Plain), last: line.at, lines: 1, blank: 0 });
        }
    }
    done.extend(open.into_iter().flatten().map(|open| open.entry));
    done.sort_by_key(|entry| entry.at);
    done
}

impl Open {
    fn takes(&self, text: &str) -> bool {
        let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
        if text.is_empty() || text.starts_with([' ', '\t']) {
            return true;
        }
        // Java; Python's chained exceptions; Go; Rust.
        if begins(&["Caused by: ", "Suppressed: ", "... "])
            || begins(&["During handling of the above", "The above exception was"])
            // After the message of who logs an exception, or a chained one.
            || (begins(&["Traceback (most recent"]) && (self.blank > 0 || self.entry.text.to_ascii_lowercase().contains("error")))
            || begins(&["goroutine ", "created by ", "[signal ", "exit status "])
            || begins(&["stack backtrace:", "note: run with `RUST_BACKTRACE", "note: Some details are omitted"])
        {
            return true;
        }
        match self.mode {
            Mode::Plain => false,
            Mode::Traceback | Mode::Panicked => true,
            Mode::Goroutine => text.ends_with(')') || text.ends_with("..."),
        }
    }

    fn add(&mut self, line: &Line) {
        self.last = line.at;
        if line.text.is_empty() {
            self.blank += 1;
            return;
        }
        self.mode = match self.mode {
            // The exception's own line ends the trace.
            Mode::Traceback if !line.text.starts_with([' ', '\t']) => mode(&line.text, Mode::Plain),
            Mode::Panicked => Mode::Plain,
            before => mode(&line.text, before),
        };
        let blank = std::mem::take(&mut self.blank);
        self.lines += 1;
        if self.lines <= LINES && self.entry.text.len() + line.text.len() + blank < BYTES {
            self.entry.text.extend(std::iter::repeat_n('\n', blank + 1));
            self.entry.text.push_str(&line.text);
        }
    }
}

fn mode(text: &str, before: Mode) -> Mode {
    if text.starts_with("Traceback (most recent") {
        Mode::Traceback
    } else if text.starts_with("goroutine ") && text.ends_with("]:") {
        Mode::Goroutine
    } else if text.contains("' panicked at ") || text.contains(") panicked at ") {
        Mode::Panicked
    } else {
        before
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        (0..).zip(text.lines()).map(|(at, text)| Line { at, stderr: false, text: text.to_owned() }).collect()
    }

    #[rstest]
    #[case::java(
        "java.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)\n\t... 2 more\nCaused by: java.io.IOException: y\n\tat d.E.f(E.java:2)"
    )]
    #[case::python(
        "ERROR in app\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 2, in h\nValueError: y"
    )]
    #[case::go(
        "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/a.go:1 +0x1d\nmain.main()\n\t/a.go:2 +0x1\nexit status 2"
    )]
    #[case::node(
        "TypeError: Cannot read properties of undefined (reading 'x')\n    at f (/a.js:1:2)\n    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"
    )]
    #[case::rust(
        "thread 'main' (7) panicked at src/main.rs:1:1:\ncalled `Option::unwrap()` on a `None` value\nstack backtrace:\n   0: core::panicking::panic\n             at /rustc/x/library/core/src/panicking.rs:1:1\nnote: run with `RUST_BACKTRACE=full` for a verbose backtrace"
    )]
    fn a_trace_is_one_message(#[case] trace: &str) {
        let found = group(&lines(&format!("GET /before 200\n{trace}\nGET /after 200")));
        let texts: Vec<_> = found.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["GET /before 200", trace, "GET /after 200"]);
    }

    #[test]
    fn streams_and_times_keep_messages_apart() {
        let line = |at, stderr, text: &str| Line { at, stderr, text: text.to_owned() };
        let found = group(&[
            line(0, false, "one"),
            line(1, true, "Error: two"),
            line(2, false, "  of one"),
            line(3, true, "    at f"),
            line(GAP_NS * 2, true, "    at g"),
            line(GAP_NS * 2 + 1, true, ""),
        ]);
        let texts: Vec<_> = found.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["one\n  of one", "Error: two\n    at f", "    at g"]);
    }

    #[test]
    fn a_long_trace_is_cut() {
        let trace = format!("Error: x\n{}", "    at f\n".repeat(500));
        let found = group(&lines(&trace));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text.lines().count(), LINES);
    }
}
