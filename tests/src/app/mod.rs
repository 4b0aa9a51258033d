//! The application that runs in the pods: a small HTTP/1.1 server whose behaviour is data, and a load client.
//!
//! The servers differ only in how a request meets a thread ([`threads`], [`event_loop`]), because that is what linking a
//! call to its request depends on. What a request does ([`handler`]) is written once for all of them.

pub mod call;
pub mod client;
pub mod event_loop;
pub mod handler;
pub mod http;
pub mod kubelet;
pub mod route;
pub mod side;
pub mod threads;

pub use route::{Call, Misbehave, Route, Routes};
