//! Requests that take long. How a CPU quota acted on one can only be told from its beginning on, so this looks for them
//! before anything has failed; as often as costs next to nothing.

use tracer_common::conn::{Conn, role};

use super::naming::Naming;
use crate::clock;
use crate::event::Ktime;
use crate::kernel::Kernel;
use crate::kernel::map::MapError;

/// What is answered within this isn't slow.
const SLOW_NS: Ktime = 150_000_000;
/// Between two looks, and how many times as long as a look takes: 0.2 % of a core, but never so seldom that half of a slow
/// request goes unseen.
const PAUSE_NS: Ktime = 100_000_000;
const SHARE: Ktime = 500;
const LONGEST_PAUSE_NS: Ktime = 500_000_000;
/// Processes told of one look.
const PROCESSES: usize = 64;

/// When to look again.
#[derive(Debug, Default)]
pub(super) struct Watch {
    next: Ktime,
}

impl Watch {
    /// The processes that have read a request and haven't answered it for a while.
    pub(super) fn slow(&mut self, kernel: &Kernel, naming: &mut Naming, now: Ktime) -> Result<Vec<u32>, MapError> {
        if now < self.next {
            return Ok(Vec::new());
        }
        let begun = clock::thread_ns();
        let open = kernel.tables.open_connections(Ktime::MAX)?;
        let mut pids: Vec<u32> = open
            .iter()
            .filter(|(_, conn)| conn.role == role::SERVER)
            .filter(|(_, conn)| {
                let path = naming.path(conn.cgroup_id).map(str::to_owned);
                naming.observes(path.as_deref())
            })
            .flat_map(|(_, conn)| slow(conn, now))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids.truncate(PROCESSES);
        let took = clock::thread_ns().saturating_sub(begun);
        self.next = now + (took * SHARE).clamp(PAUSE_NS, LONGEST_PAUSE_NS);
        Ok(pids)
    }
}

fn slow(conn: &Conn, now: Ktime) -> impl Iterator<Item = u32> {
    let requests = conn.requests.iter().filter(move |request| {
        request.number >= conn.answered
            && request.number < conn.begun
            && now.saturating_sub(request.start_ns) >= SLOW_NS
    });
    requests.map(|request| request.actor.tgid).filter(|tgid| *tgid != 0)
}

#[cfg(test)]
mod tests {
    use tracer_common::conn::Request;
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn only_unanswered_requests_that_were_read() {
        let mut conn = Conn::new_zeroed();
        (conn.begun, conn.answered) = (3, 1);
        let request = |number, start_ns, tgid| {
            let mut request = Request { number, start_ns, ..Request::default() };
            request.actor.tgid = tgid;
            request
        };
        conn.requests = [request(0, 1, 10), request(1, 1, 11), request(2, SLOW_NS, 12), request(1, 1, 0)];
        assert_eq!(slow(&conn, SLOW_NS + 1).collect::<Vec<_>>(), [11]);
    }
}
