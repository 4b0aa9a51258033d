//! Why a container couldn't be started: its configuration, or its image.

use crate::{
    k8s::model::{Event, Terminated},
    verdict::cause,
};

/// Whether the runtime failed to start it, rather than the process having run.
pub(super) fn never_ran(ended: &Terminated) -> bool {
    matches!(ended.reason.as_deref(), Some("StartError" | "ContainerCannotRun"))
}

/// What a runtime's message says. Mounts come first: runc names the executable in front of every error.
pub(super) fn failure(message: &str) -> Option<&'static str> {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["error mounting", "failed to mount", "configmap", "secret", "subpath"]) {
        return Some(cause::CONFIG_ERROR);
    }
    let executable = ["no command specified", "exec format error", "executable file not found", "exec: \""];
    says(&executable).then_some(cause::IMAGE_ERROR)
}

/// A volume's ConfigMap or Secret, or a key of it, doesn't exist.
pub(super) fn missing_volume(event: &Event) -> Option<&str> {
    let message = event.message.as_str();
    let object = message.contains("configmap \"") || message.contains("secret \"");
    let missing = (object && message.contains("not found")) || message.contains("references non-existent");
    (event.reason == "FailedMount" && missing).then_some(message)
}
