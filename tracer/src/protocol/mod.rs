//! Bytes of a message to its parts.
