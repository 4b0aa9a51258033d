//! Looks for the rules that dropped packets, beside the pipeline: listing a ruleset takes a while.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::event::{Flow, HostFact};
use crate::host::proc::Proc;
use crate::host::ruleset;

/// Questions that wait; further ones are left out.
const WAITING: usize = 16;

/// A thread that answers, made with the first question.
#[derive(Debug, Default)]
pub(super) struct Rules {
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    questions: SyncSender<(u32, Flow)>,
    answers: Receiver<HostFact>,
}

impl Rules {
    /// Asks which rule drops a flow in the network namespace of a process.
    pub(super) fn ask(&mut self, proc: &Proc, pid: u32, flow: &Flow) {
        let thread = self.thread.get_or_insert_with(|| start(proc.clone()));
        match thread.questions.try_send((pid, flow.clone())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::debug!(?flow, "too many questions for rules at once");
            }
        }
    }

    /// What was found since the last call.
    pub(super) fn answers(&self) -> impl Iterator<Item = HostFact> {
        self.thread.iter().flat_map(|thread| thread.answers.try_iter())
    }
}

fn start(proc: Proc) -> Thread {
    let (questions, asked) = sync_channel::<(u32, Flow)>(WAITING);
    let (answer, answers) = sync_channel(WAITING);
    std::thread::spawn(move || {
        for (pid, flow) in asked {
            let fact = ruleset::rule(&proc, pid, &flow).map_or(HostFact::NoRule(flow), HostFact::Rule);
            if answer.send(fact).is_err() {
                return;
            }
        }
    });
    Thread { questions, answers }
}
