//! The project's own commands; `cargo xtask help` lists them. `cargo xtask ci` is what continuous integration runs.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

mod bench;
mod cargo;
mod ci;
mod dashboards;
mod demo;
mod deploy;
mod ebpf_toolchain;
mod kernels;
mod linking;
mod setup;
mod soak;
mod steps;
mod storm;
mod test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", disable_help_subcommand = false)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing to build, test and demonstrate
    Setup,
    /// Check format, lints and repository rules
    Lint,
    /// Run every test: unit, pure core, and those that need root and a real kernel
    Test {
        /// Only tests whose name contains one of these
        filters: Vec<String>,
    },
    /// Break the test cluster in four ways and watch the tracer explain each
    Demo {
        /// What to print on standard output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Boot other kernels in QEMU and run the tracer, its hook tests and the demo in each
    Kernels(kernels::Kernels),
    /// Break the test cluster in many ways at once among healthy traffic, and score what the tracer says
    Storm(storm::Storm),
    /// Measure how well calls are linked to requests, by how servers serve
    Linking(linking::Linking),
    /// Run the agent under load and churn, and see whether what it uses grows
    Soak(soak::Soak),
    /// Measure what the tracer costs
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Write Grafana's dashboards, `deploy/grafana`
    Dashboards,
    /// Write `deploy/kustomize` from the chart
    Manifests,
    /// Build the container image: the static binary and nothing else
    Image,
    /// Run the image with the manifests' privileges, and with one capability less each time; root
    Container {
        /// Pack and run the debug build with its libraries, and remove all that: takes seconds, so CI does it
        #[arg(long)]
        debug: bool,
    },
    /// Install the DaemonSet on a real kubelet with containerd, and have it explain what is broken there; root. Builds
    /// Kubernetes the first time
    Node,
    /// Write what is generated in `deploy/`, and check it with helm, kubectl and promtool
    Deploy,
    /// Everything that must pass before a change lands
    Ci,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Task::Setup => setup::run(setup::Report::Always),
        Task::Lint => ci::lint(),
        Task::Test { filters } => test::run(&filters),
        Task::Demo { output } => return demo::run(output),
        Task::Kernels(kernels) => kernels::run(&kernels),
        Task::Linking(linking) => return linking.run(),
        Task::Storm(storm) => return storm.run(),
        Task::Soak(soak) => soak.run(),
        Task::Bench { bench } => bench::run(&bench),
        Task::Dashboards => dashboards::write(),
        Task::Manifests => deploy::manifests::write(),
        Task::Image => deploy::image::build(),
        Task::Container { debug: true } => deploy::container::check_debug(),
        Task::Container { debug: false } => deploy::container::check_shipped(),
        Task::Node => deploy::node::check(),
        Task::Deploy => deploy::check(),
        Task::Ci => ci::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
