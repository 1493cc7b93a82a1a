//! The command line, as clap sees it.
//!
//! Owns the words: commands, options, their help and their limits. Never does anything with them. A value that makes
//! no sense does not leave this module (`values`); what this version does not have is known by name (`absent`).

pub(crate) mod absent;
mod asking;
mod examples;
pub(crate) mod faults;
pub(crate) mod listen;
pub(crate) mod run;
pub(crate) mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use clustr_supervisor::config::Listen;

use crate::failure::Failure;
pub(crate) use asking::{
    ReloadArgs, RestartArgs, ScaleArgs, SendArgs, SignalArgs, StatusArgs, StopArgs, Waiting,
};
pub(crate) use run::RunOptions;
use values::Workers;

/// Run any network server as a cluster of worker processes that share its ports.
#[derive(Debug, Parser)]
#[command(
    name = "clustr",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    help_template = examples::TEMPLATE,
    before_help = examples::FIRST,
    after_help = examples::AFTER,
    after_long_help = examples::after_long(),
    subcommand_value_name = "COMMAND",
    disable_help_subcommand = true,
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program as N workers, in the foreground, until Ctrl-C
    #[command(override_usage = "clustr run [OPTIONS] -- COMMAND [ARG]...\n       clustr run [OPTIONS] [--file FILE]", after_help = examples::RUN,
        after_long_help = examples::run_long())]
    Run(RunArgs),
    /// Show the workers: state, pid, uptime, restarts, CPU, memory
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Follow what happens: starts, exits, restarts
    #[command(after_help = examples::EVENTS)]
    Events(ReadArgs),
    /// Change the number of workers, and wait until it is so
    #[command(after_help = examples::SCALE)]
    Scale(ScaleArgs),
    /// Replace all workers by a new generation, and wait until it serves, or the old one again
    #[command(override_usage = "clustr reload [OPTIONS] [-- COMMAND [ARG]...]", after_help = examples::RELOAD)]
    Reload(ReloadArgs),
    /// Replace workers by new ones of the same generation, and wait until they serve
    #[command(after_help = examples::RESTART)]
    Restart(RestartArgs),
    /// Stop the app, and wait until nothing runs any more
    #[command(after_help = examples::STOP)]
    Stop(StopArgs),
    /// Send a signal to the workers, each to the process that listens
    #[command(after_help = examples::SIGNAL)]
    Signal(SignalArgs),
    /// Send a message to the workers: process.on('message') in node, Heard::Message in Rust
    #[command(after_help = examples::SEND)]
    Send(SendArgs),
    /// List every primary of this user
    List(ListArgs),
    /// Say what `run` would do, without doing it
    #[command(override_usage = "clustr check [RUN OPTIONS] -- COMMAND [ARG]...\n       clustr check [RUN OPTIONS] [FILE]", after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Make the running primary what its configuration file says
    #[command(after_help = examples::APPLY)]
    Apply(ApplyArgs),
    /// Print a unit of systemd, manifests for Kubernetes, a file for compose or a Dockerfile that runs the same
    #[command(override_usage = "clustr export TARGET [RUN OPTIONS] -- COMMAND [ARG]...\n       clustr export TARGET [RUN OPTIONS] [--file FILE]",
        after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Say what of this machine is good for clustr, what is not, and what mends it
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Write a clustr.toml to begin with, from what the folder has
    #[command(after_help = examples::INIT)]
    Init(InitArgs),
    /// Show a cluster at work: a server, a load on it, and workers that may be killed
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions { shell: Shell },
    /// Write manual pages, one a command, into a folder; without one, print clustr(1)
    #[command(hide = true)]
    Man {
        /// Where; it has to be there
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Print the version
    Version {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The demo's server: one worker of it.
    #[command(hide = true)]
    DemoWorker {
        #[arg(long)]
        port: u16,
    },
    #[command(flatten)]
    Absent(absent::AbsentCommand),
}

/// Which primary is meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Place {
    /// The primary of this name; may be left out while only one runs
    #[arg(long, value_parser = values::name, help_heading = "Which primary")]
    pub(crate) name: Option<String>,
    /// The primary at this control socket
    #[arg(long, value_name = "PATH", conflicts_with = "name", help_heading = "Which primary")]
    pub(crate) control: Option<PathBuf>,
    /// Of a primary with several apps, this one alone
    #[arg(long, value_name = "NAME", value_parser = values::name, help_heading = "Which primary")]
    pub(crate) app: Option<String>,
}

/// Which configuration file is meant, and what of it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FileArgs {
    /// Read what to run from this file, and work in its folder: clustr.toml, a Procfile, or PM2's
    /// ecosystem.config.json [default: the first of these that is there, where no COMMAND is given]
    #[arg(
        short = 'f',
        long,
        value_name = "FILE",
        conflicts_with = "command",
        help_heading = "Configuration file"
    )]
    pub(crate) file: Option<PathBuf>,
    /// With what its table [profile.NAME] says differently
    #[arg(long, value_name = "NAME", conflicts_with = "command", help_heading = "Configuration file")]
    pub(crate) profile: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten)]
    pub(crate) from: FileArgs,
    /// In the background: returns when every worker is ready, or fails with its last output. Ctrl-C before that ends it
    #[arg(short = 'd', long, help_heading = "Output")]
    pub(crate) detach: bool,
    /// With --detach, the outcome as JSON, for scripts
    #[arg(long, requires = "detach", help_heading = "Output")]
    pub(crate) json: bool,
    /// This is what runs in the background; its output is in this file.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) detached: Option<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file: the same as --file
    #[arg(value_name = "FILE", conflicts_with_all = ["file", "command"])]
    pub(crate) path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten)]
    pub(crate) from: FileArgs,
    /// As JSON, for scripts
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Print the JSON schema of clustr.toml, for editors, and nothing else
    #[arg(long, exclusive = true, help_heading = "Configuration file")]
    pub(crate) schema: bool,
    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// The configuration file [default: as of `run`]
    #[arg(value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
    /// With what its table [profile.NAME] says differently
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Change nothing: show what would be changed, and how
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// For whom; before all options
    #[arg(value_enum)]
    pub(crate) target: ExportTarget,
    #[command(flatten)]
    pub(crate) options: RunOptions,
    #[command(flatten)]
    pub(crate) from: FileArgs,
    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub(crate) command: Vec<OsString>,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum ExportTarget {
    Systemd,
    Kubernetes,
    Compose,
    Dockerfile,
}

impl ExportTarget {
    /// As it is typed.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Kubernetes => "kubernetes",
            Self::Compose => "compose",
            Self::Dockerfile => "dockerfile",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Can these be had? Else those of the configuration file are looked at, if there is one
    #[arg(value_name = "ADDR", value_parser = listen::listen)]
    pub(crate) addresses: Vec<Listen>,
    /// The same, as `run` takes it
    #[arg(short = 'l', long, value_name = "[NAME=]ADDR[,OPTIONS]", value_parser = listen::listen)]
    pub(crate) listen: Vec<Listen>,
    /// The addresses of this file
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// With what its table [profile.NAME] says differently
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// As JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Where; it is never overwritten [default: clustr.toml]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ReadArgs {
    /// As JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// As JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// How many workers
    #[arg(short = 'n', long, value_name = "N|auto", default_value = "4", value_parser = values::workers)]
    pub(crate) workers: Workers,
    /// On which port; the next free one if it is taken
    #[arg(long, default_value_t = 3001, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// Kill a worker every 2 seconds
    #[arg(long)]
    pub(crate) kill: bool,
    /// End by itself after so long
    #[arg(long, value_name = "TIME", value_parser = values::some_span)]
    pub(crate) duration: Option<Duration>,
}

/// The words of this process.
///
/// # Errors
/// They make no sense, or ask for help: both are a [`Failure`] with its own text and exit code.
pub(crate) fn parse() -> Result<Cli, Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&words).map_err(|error| faults::explain(error, &words))
}

/// The options of `run`, `check` or `export`, with words from a file before those of the command line, so that these win; what may be
/// repeated adds up. Of other commands, those of the file alone.
///
/// # Errors
/// They make no sense together.
pub(crate) fn beside(from_file: &[OsString]) -> Result<RunOptions, Failure> {
    let own: Vec<OsString> = std::env::args_os().collect();
    let takes_options = own.get(1).is_some_and(|word| word == "run" || word == "check" || word == "export");
    if !takes_options {
        let matches = run::definition().try_get_matches_from(from_file);
        let options = matches.and_then(|matches| RunOptions::from_arg_matches(&matches));
        return options.map_err(|error| faults::explain(error, from_file));
    }
    let words: Vec<OsString> = own[..2].iter().chain(from_file).chain(&own[2..]).cloned().collect();
    let last_wins = |command: clap::Command| command.args_override_self(true);
    let definition = ["run", "check", "export"]
        .into_iter()
        .fold(Cli::command(), |cli, name| cli.mut_subcommand(name, last_wins));
    let cli = definition.try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    let command = cli.map_err(|error| faults::explain(error, &own))?.command;
    if let Command::Run(RunArgs { options, .. })
    | Command::Check(CheckArgs { options, .. })
    | Command::Export(ExportArgs { options, .. }) = command
    {
        return Ok(options);
    }
    unreachable!("the second word is one of these")
}

/// Whether JSON was wished for by words that make no sense together: before `--`, all of them are ours.
pub(crate) fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

impl Cli {
    /// Whether a failure, too, is to be told as JSON.
    pub(crate) const fn wants_json(&self) -> bool {
        match &self.command {
            Command::Status(args) => args.read.json,
            Command::Events(args) => args.json,
            Command::List(args) => args.json,
            Command::Scale(args) => args.waiting.json,
            Command::Reload(args) => args.waiting.json,
            Command::Restart(args) => args.waiting.json,
            Command::Stop(args) => args.waiting.json,
            Command::Signal(args) => args.read.json,
            Command::Send(args) => args.read.json,
            // What runs in the background writes a log; to the script speaks who started it.
            Command::Run(args) => args.json && args.detached.is_none(),
            Command::Version { json } => *json,
            Command::Check(args) => args.json,
            Command::Doctor(args) => args.json,
            Command::Apply(args) => args.waiting.json,
            Command::Demo(_)
            | Command::Init(_)
            | Command::Export(_)
            | Command::Completions { .. }
            | Command::Man { .. }
            | Command::DemoWorker { .. }
            | Command::Absent(_) => false,
        }
    }
}

/// The whole definition, for completions.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}
