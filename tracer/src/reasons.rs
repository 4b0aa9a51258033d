//! Errors with all that caused them, in one line.

use std::error::Error;

/// Outermost first; a reason that the ones before it say already is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let inner = cause.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        next = cause.source();
    }
    text
}
