//! Two hosts with a cable between them, each a network namespace and a cgroup: nginx and small servers in one, those who ask
//! in the other.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use tracer_tests::{
    cluster::Instance,
    run::{Place, checked},
};

use super::load::Loaded;

const SERVER: &str = "10.0.0.1";
const CLIENT: &str = "10.0.0.2";
const HTTP: u16 = 8080;
/// Nothing listens there.
const CLOSED: u16 = 8081;
const SMALL: [(&str, u16); 3] = [("echo", 9000), ("sink", 9001), ("dns", 53)];
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a client runs: on the server's processor, so that every nanosecond on the way counts once, or on another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Server,
    Elsewhere,
}

pub(crate) struct Site {
    pub(crate) instance: Instance,
    server: u32,
    client: u32,
    processors: [String; 2],
    children: Vec<Child>,
}

impl Site {
    pub(crate) fn up() -> Result<Self> {
        let instance = Instance::create()?;
        let mut site = Self { instance, server: 0, client: 0, processors: processors()?, children: vec![] };
        for name in ["server", "client"] {
            fs::create_dir(site.cgroup(name))?;
        }
        site.server = site.hold()?;
        site.client = site.hold()?;
        let (client, place) = (site.client, || Place::network_of(site.server));
        let lines = format!(
            "ip link set lo up; ip link add name left type veth peer name right netns {client}
             ip address add {SERVER}/24 dev left; ip link set left up"
        );
        checked(place()?, "sh", &["-ec", &lines], "")?;
        let lines = format!("ip link set lo up; ip address add {CLIENT}/24 dev right; ip link set right up");
        checked(Place::network_of(client)?, "sh", &["-ec", &lines], "")?;
        site.serve()?;
        Ok(site)
    }

    pub(crate) fn cgroup(&self, name: &str) -> PathBuf {
        self.instance.pods_cgroup().join(name)
    }

    pub(crate) fn http(&self) -> String {
        format!("{SERVER}:{HTTP}")
    }

    /// Requests per second that `wrk` gets answered on 16 connections.
    pub(crate) fn saturate(&self, beside: Beside, seconds: u64) -> Result<f64> {
        let words = ["wrk", "-t1", "-c16", &format!("-d{seconds}s"), &format!("http://{}/", self.http())];
        let text = self.ask(beside, &words)?;
        let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        let bad = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
        match (rate, bad) {
            (Some(rate), None) => rate.trim().parse().with_context(|| format!("wrk: {text}")),
            _ => bail!("wrk got wrong answers: {text}"),
        }
    }

    /// Load of our own, to one of the servers.
    pub(crate) fn load(&self, beside: Beside, server: &str, words: &[&str]) -> Result<Loaded> {
        let port = match server {
            "closed" => CLOSED,
            server => SMALL.iter().find(|(name, _)| *name == server).map_or(HTTP, |(_, port)| *port),
        };
        let own = own()?;
        let to = format!("{SERVER}:{port}");
        let words: Vec<&str> = [&own, "load", "--to", &to].into_iter().chain(words.iter().copied()).collect();
        let text = self.ask(beside, &words)?;
        serde_json::from_str(&text).with_context(|| format!("the load generator said {text:?}"))
    }

    fn ask(&self, beside: Beside, words: &[&str]) -> Result<String> {
        let place = self.place(self.client, "client")?;
        let processor = &self.processors[usize::from(beside == Beside::Elsewhere)];
        let words: Vec<&str> = ["-c", processor].into_iter().chain(words.iter().copied()).collect();
        checked(place, "taskset", &words, "")
    }

    fn place(&self, namespaces: u32, cgroup: &str) -> Result<Place> {
        let procs = self.cgroup(cgroup).join("cgroup.procs");
        Ok(Place { cgroups: vec![procs], ..Place::network_of(namespaces)? })
    }

    /// A process that keeps new namespaces.
    fn hold(&mut self) -> Result<u32> {
        let mut command = Command::new(own()?);
        command.arg("pause").stdin(Stdio::null()).stdout(Stdio::null());
        Place { fresh: Some(vec![]), ..Place::default() }.apply(&mut command)?;
        let child = command.spawn().context("cannot start a process in new namespaces (is this root?)")?;
        let pid = child.id();
        self.children.push(child);
        Ok(pid)
    }

    fn serve(&mut self) -> Result<()> {
        let directory = self.instance.directory();
        let configuration = directory.join("nginx.conf");
        fs::write(&configuration, nginx(&directory))?;
        let path = configuration.to_string_lossy().into_owned();
        self.start("http", HTTP, &["nginx", "-c", &path])?;
        let own = own()?;
        for (name, port) in SMALL {
            self.start(name, port, &[&own, "serve", name, "--at", &format!("{SERVER}:{port}")])?;
        }
        Ok(())
    }

    fn start(&mut self, name: &str, port: u16, words: &[&str]) -> Result<()> {
        let log = self.instance.directory().join(format!("{name}.log"));
        let mut command = Command::new("taskset");
        command.args(["-c", &self.processors[0]]).args(words).stdin(Stdio::null());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdout(File::create(&log)?).stderr(File::create(&log)?);
        self.place(self.server, "server")?.apply(&mut command)?;
        let mut child = command.spawn().with_context(|| format!("cannot start {}", words[0]))?;
        let deadline = Instant::now() + PATIENCE;
        while !listens(child.id(), port) {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{} doesn't listen: {}", words[0], fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.children.push(child);
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a process has a listening TCP socket or a UDP socket at the port, in its network namespace.
fn listens(pid: u32, port: u16) -> bool {
    let tables = [("tcp", "0A"), ("udp", "07")];
    tables.into_iter().any(|(table, state)| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}"))) && fields.nth(1) == Some(state)
        })
    })
}

/// The first two processors that we may use; one twice where there is only one.
fn processors() -> Result<[String; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut numbers = (0..CpuSet::count()).filter(|number| allowed.is_set(*number).unwrap_or(false));
    let first = numbers.next().context("no processor")?;
    Ok([first, numbers.next().unwrap_or(first)].map(|number| number.to_string()))
}

fn own() -> Result<String> {
    Ok(std::env::current_exe()?.to_string_lossy().into_owned())
}

fn nginx(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {directory}/nginx.pid; error_log stderr;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; keepalive_requests 1000000000;
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
           fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
           server {{
             listen {SERVER}:{HTTP};
             location / {{ return 200 \"ok\"; }}
             location /fail {{ return 500 \"no\"; }}
           }}
         }}"
    )
}
