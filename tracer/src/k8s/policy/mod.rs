//! NetworkPolicy (networking.k8s.io/v1): would a flow be admitted, by which policies, or what is missing.
//!
//! Evaluates the API's specification, not one network plugin's behaviour. The rules, in order:
//! 1. A pod always reaches itself.
//! 2. A `hostNetwork` pod is subject to no policy, and as a peer it is its node's address: it matches `ipBlock` only.
//! 3. Traffic between a pod and the node it runs on is always allowed (the kubelet's probes).
//! 4. A pod is isolated for a direction when a policy of its namespace selects it and applies to that direction; without
//!    such a policy everything is allowed.
//! 5. An isolated pod's traffic is allowed when one rule of one such policy admits peer and port; policies only add up.
//! 6. A flow needs both: the source's egress and the destination's ingress. Replies need nothing.

pub mod check;
mod describe;
mod evaluate;
mod peer;
mod port;
mod selector;
mod suggest;
#[cfg(test)]
mod tests;

pub use describe::missing_allow;
pub use evaluate::{Denied, Direction, Evaluation, Flow, Party, PolicyRef, evaluate};
pub use selector::{NAMESPACE_NAME_LABEL, selector_matches};
pub use suggest::suggest_rule;
