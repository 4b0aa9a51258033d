//! Where incidents go.
