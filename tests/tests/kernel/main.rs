//! The real programs on the real kernel, with real packets in network namespaces of the tests' own.
//!
//! Needs root and fails without. One [`observer`] loads the programs once; each test makes its own namespace and looks
//! only at what happened there, so tests run side by side and beside whatever else the machine does. "Nothing else
//! happened" is asserted behind a fence: a failure caused last, whose event comes after all others.
//!
//! Reordering and loss on the wire would need `sch_netem`, which many kernels lack; `reliability` makes the kernel
//! retransmit by dropping packets with nftables instead.
#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod connects;
mod dns;
mod drops;
mod existing;
mod filters;
mod framing;
mod http;
mod join;
mod lifecycle;
mod net;
mod observer;
mod pid_namespace;
mod places;
mod probes;
mod reliability;
mod syns;
mod translate;
