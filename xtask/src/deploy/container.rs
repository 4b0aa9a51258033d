//! The image under the manifest's privileges, and with one capability less each time.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::image::{self, DEBUG_IMAGE, IMAGE, podman};
use super::manifests;
use crate::cargo;

const PATIENCE: Duration = Duration::from_secs(60);
/// As `tracer` says that it can't run where it is.
const CANNOT_RUN: i32 = 3;

/// The same of the debug build; nothing of it remains.
pub(crate) fn check_debug() -> Result<()> {
    image::build_debug()?;
    let checked = check(DEBUG_IMAGE);
    image::remove_debug()?;
    checked
}

/// The same of the image that is shipped.
pub(crate) fn check_shipped() -> Result<()> {
    check(IMAGE)
}

/// Starts the agent as the DaemonSet would, and asks it how it fares.
fn check(image: &'static str) -> Result<()> {
    let objects = manifests::base_objects()?;
    let pod = Pod::of(&objects, image)?;
    match pod.start(&pod.capabilities)? {
        Outcome::Ready { status } => {
            ensure!(!status.contains("CAP_"), "with the manifest's capabilities it misses some: {status}");
        }
        Outcome::Ended { code, log } => bail!("with the manifest's capabilities it ends with {code:?}: {log}"),
    }
    eprintln!("runs with {}", pod.capabilities.join(", "));
    for missing in &pod.capabilities {
        let others: Vec<String> = pod.capabilities.iter().filter(|name| *name != missing).cloned().collect();
        let name = format!("CAP_{missing}");
        match pod.start(&others)? {
            Outcome::Ready { status } if status.contains(&name) => {
                eprintln!("without {missing}: runs, and says so");
            }
            Outcome::Ended { code: Some(CANNOT_RUN), log } if log.contains(&name) => {
                eprintln!("without {missing}: doesn't run, and says so");
            }
            Outcome::Ready { status } => bail!("without {missing} it runs and doesn't say so: {status}"),
            Outcome::Ended { code, log } => bail!("without {missing} it ends with {code:?}, not naming it: {log}"),
        }
    }
    Ok(())
}

enum Outcome {
    /// It was ready, told its status, and ended well when asked to.
    Ready {
        status: String,
    },
    Ended {
        code: Option<i32>,
        log: String,
    },
}

/// What podman is to do, from the DaemonSet.
struct Pod {
    image: &'static str,
    capabilities: Vec<String>,
    arguments: Vec<String>,
    /// Of the container.
    command: Vec<String>,
    port: String,
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Pod {
    fn of(objects: &[Value], image: &'static str) -> Result<Self> {
        let object = |kind: &str| objects.iter().find(|object| object["kind"] == kind).context(kind.to_owned());
        let pod = &object("DaemonSet")?["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        ensure!(security["privileged"] == false && security["allowPrivilegeEscalation"] == false, "{security}");
        ensure!(security["capabilities"]["drop"][0] == "ALL", "{security}");
        ensure!(pod["hostPID"] == false && pod["hostNetwork"] == false, "{pod}");
        let names = |value: &Value| list(value).filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let mut arguments = vec!["--security-opt=no-new-privileges".to_owned(), "--network=none".to_owned()];
        if security["readOnlyRootFilesystem"] == true {
            arguments.push("--read-only".to_owned());
        }
        if security["seccompProfile"]["type"] == "Unconfined" {
            arguments.push("--security-opt=seccomp=unconfined".to_owned());
        }
        for variable in list(&container["env"]) {
            let value = text(variable, "/value").unwrap_or_else(|| "node".to_owned());
            arguments.push(format!("--env={}={value}", text(variable, "/name").unwrap_or_default()));
        }
        let config = cargo::target_dir().join("image/config");
        fs::create_dir_all(&config)?;
        fs::write(config.join("config.yaml"), text(object("ConfigMap")?, "/data/config.yaml").context("config.yaml")?)?;
        for mount in list(&container["volumeMounts"]) {
            let volume = list(&pod["volumes"]).find(|volume| volume["name"] == mount["name"]).context("volume")?;
            let source = text(volume, "/hostPath/path").map_or_else(|| config.clone(), Into::into);
            // A machine without pods has no such logs.
            if source.exists() {
                let options = if mount["readOnly"] == true { "ro" } else { "rw" };
                let target = text(mount, "/mountPath").unwrap_or_default();
                arguments.push(format!("--volume={}:{target}:{options},rslave", source.display()));
            }
        }
        let port = container["ports"][0]["containerPort"].to_string();
        let capabilities = names(&security["capabilities"]["add"]);
        Ok(Self { image, capabilities, arguments, command: names(&container["args"]), port })
    }

    fn start(&self, capabilities: &[String]) -> Result<Outcome> {
        let pidfile = cargo::target_dir().join("image/pid");
        if pidfile.exists() {
            fs::remove_file(&pidfile)?;
        }
        let mut run = podman();
        run.args(["run", "--rm", "--quiet", "--cap-drop=ALL", "--ulimit=nofile=1000:1000", "--ulimit=nproc=1000:1000"]);
        run.args(capabilities.iter().map(|name| format!("--cap-add={name}"))).args(&self.arguments);
        run.arg("--pidfile").arg(&pidfile).arg(self.image).args(&self.command);
        let child = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("podman")?;
        let mut running = Running(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(code) = running.0.try_wait()? {
                return Ok(Outcome::Ended { code: code.code(), log: running.log()? });
            }
            if let Some(status) = self.status(&pidfile) {
                let code = running.end()?;
                ensure!(code == Some(0), "the agent ended with {code:?} when asked to: {}", running.log()?);
                return Ok(Outcome::Ready { status });
            }
            if Instant::now() > deadline {
                running.end()?;
                bail!("the agent isn't ready after {PATIENCE:?}: {}", running.log()?);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// `/v1/status` of a ready agent, asked for in its network namespace.
    fn status(&self, pidfile: &Path) -> Option<String> {
        let pid = fs::read_to_string(pidfile).ok()?;
        let get = |path: &str| {
            let mut command = Command::new("nsenter");
            command.args(["--target", pid.trim(), "--net", "curl", "--silent", "--fail", "--max-time", "5"]);
            command.arg(format!("http://127.0.0.1:{}{path}", self.port));
            let out = command.output().ok()?;
            out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
        };
        get("/readyz")?;
        // Filled in with the pipeline's first look at itself.
        get("/v1/status").filter(|status| !status.contains(r#""programs":[]"#))
    }
}

struct Running(Child);

impl Running {
    /// Podman hands SIGTERM on.
    fn end(&mut self) -> Result<Option<i32>> {
        cargo::run(Command::new("kill").args(["-TERM", &self.0.id().to_string()]))?;
        Ok(self.0.wait()?.code())
    }

    fn log(&mut self) -> Result<String> {
        let mut log = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut log)?;
        }
        Ok(log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, where all went well.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}
