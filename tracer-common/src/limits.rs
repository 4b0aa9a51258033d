//! Sizes shared by the verifier's loops and the decoders.

/// Captured bytes of a request head; a longer head is cut and flagged [`crate::conn::req_flag::TRUNCATED`].
pub const REQUEST_HEAD: usize = 2048;
/// Captured bytes of a response head: status line, framing and rate-limit headers stand early.
pub const RESPONSE_HEAD: usize = 512;
/// Requests outstanding on one connection that are told apart (pipelining); more are counted in `pipeline_overflow`.
pub const PIPELINE: usize = 4;
/// Places in the direct-mapped arrays, as a power of two: 1 MiB of connections, 10 MiB of heads. An array is asked in a few nanoseconds, a hash
/// in some forty.
pub const DIRECT_BITS: u32 = 11;
/// Places in the direct-mapped array of counters, of all CPUs together.
pub const DIRECT_COUNTERS: u32 = 1 << 13;
/// Sockets older than the tracer that are given a record at the start; the others are joined at their next request. Half
/// of the connections that are followed: new ones need room.
pub const EXISTING: u64 = 32_768;
/// Captured bytes of a DNS message (RFC 1035 section 2.3.4: 512 over UDP without EDNS).
pub const DNS_MESSAGE: usize = 512;
/// Return addresses kept of a drop's kernel stack.
pub const STACK_DEPTH: usize = 12;
/// First bytes of the request line in a flight record.
pub const FLIGHT_LINE: usize = 96;
/// Records of the flight recorder (a power of two).
pub const FLIGHT_RECORDS: u32 = 1 << 16;
/// A cgroup path, as `cgroup_mkdir` gives it.
pub const CGROUP_PATH: usize = 256;
/// Upper bounds, in nanoseconds, of the latency histogram's buckets. They contain OpenTelemetry's advice for
/// `http.server.request.duration` (5 ms … 10 s) exactly.
pub const LATENCY_BOUNDS_NS: [u64; 19] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];
/// Buckets of the latency histogram; the last one has no upper bound.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_NS.len() + 1;
