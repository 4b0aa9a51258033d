//! `tracer-app`: what runs in the pods of the test cluster.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::socket::{self, Backlog};
use tracer_tests::app::{Routes, client, event_loop, kubelet, side, threads};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP as a routes file says.
    Serve {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long, value_enum, default_value_t = Model::ThreadPerRequest)]
        model: Model,
        /// Close connections that idle for so long (thread per request only).
        #[arg(long)]
        keep_alive_ms: Option<u64>,
        /// Path to behaviour, JSON or YAML.
        #[arg(long)]
        routes: PathBuf,
        /// Use up all descriptors but so many.
        #[arg(long)]
        spare_descriptors: Option<usize>,
        /// Connections that may wait to be accepted.
        #[arg(long)]
        backlog: Option<i32>,
    },
    /// Send requests and print what came back as JSON.
    Client(client::Client),
    /// Answer PING as redis does.
    Redis {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Accept nothing, and ignore every SYN.
    Blackhole {
        #[arg(long)]
        listen: SocketAddr,
        /// Leave room in the accept queue, so that connects succeed.
        #[arg(long)]
        room: bool,
    },
    /// Probe pods as the kubelet does, and kill what fails its liveness probe.
    Kubelet {
        /// Probes, JSON.
        #[arg(long)]
        probes: PathBuf,
    },
    /// Hold namespaces open.
    Pause,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    ThreadPerRequest,
    ThreadPool,
    EventLoop,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Serve { listen, model, keep_alive_ms, routes, spare_descriptors, backlog } => {
            let text = std::fs::read_to_string(&routes).with_context(|| format!("cannot read {}", routes.display()))?;
            let routes: Routes = serde_yaml_ng::from_str(&text)?;
            let listener = bind(listen)?;
            if let Some(backlog) = backlog {
                // A second listen() changes it.
                socket::listen(&listener, Backlog::new(backlog)?)?;
            }
            let _held = spare_descriptors.map(side::use_up_descriptors);
            match model {
                Model::ThreadPerRequest => {
                    threads::thread_per_request(&listener, routes, keep_alive_ms.map(Duration::from_millis))
                }
                Model::ThreadPool => threads::thread_pool(&listener, routes),
                Model::EventLoop => event_loop::serve(listener, routes),
            }
        }
        Command::Client(arguments) => {
            println!("{}", serde_json::to_string(&client::run(&arguments)?)?);
            Ok(())
        }
        Command::Redis { listen } => side::redis(&bind(listen)?),
        Command::Kubelet { probes } => {
            let text = std::fs::read_to_string(&probes).with_context(|| format!("cannot read {}", probes.display()))?;
            kubelet::run(serde_json::from_str(&text)?)
        }
        Command::Blackhole { listen, room } => side::blackhole(listen, room),
        Command::Pause => side::pause(),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}
