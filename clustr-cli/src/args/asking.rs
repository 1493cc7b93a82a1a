//! The words of commands that ask a primary something.
//!
//! Owns what they have in common: which primary, how long to wait, JSON or text. Never does anything with them.

use std::time::Duration;

use clap::Args;

use super::values::{self, ScaleTarget, Variable};
use super::{Place, ReadArgs};

/// How to wait for a command that takes long.
#[derive(Args, Clone, Debug)]
pub(crate) struct Waiting {
    /// Wait at most so long (exit code 124); what was asked for goes on
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub(crate) timeout: Option<Duration>,
    /// The outcome as JSON, for scripts, and no progress
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Of this slot alone, with the last lines that its worker has printed
    #[arg(long, value_name = "SLOT", value_parser = values::slot)]
    pub(crate) slot: Option<u32>,
    /// Count each worker's open TCP connections too: the primary looks through its descriptors
    #[arg(long)]
    pub(crate) connections: bool,
    /// All columns, however narrow the terminal is
    #[arg(long)]
    pub(crate) wide: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ScaleArgs {
    /// So many workers, or so many more or fewer
    #[arg(value_name = "N|+N|-N", allow_hyphen_values = true, value_parser = values::scale_target)]
    pub(crate) target: ScaleTarget,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct ReloadArgs {
    /// Replace so many workers at a time, stopping the old ones as it goes [default: 1]
    #[arg(long, value_name = "BATCH", num_args = 0..=1, default_missing_value = "1",
        value_parser = values::slots, conflicts_with = "canary")]
    pub(crate) rolling: Option<u32>,
    /// Try so many workers first, then the rest
    #[arg(long, value_name = "K", value_parser = values::slots)]
    pub(crate) canary: Option<u32>,
    /// Watch each batch for so long once it is ready [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub(crate) settle: Option<Duration>,
    /// A variable to add or to change; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable)]
    pub(crate) env: Vec<Variable>,
    /// Change nothing: show what would be different. Of variables, names alone
    #[arg(long, conflicts_with_all = ["no_wait", "timeout"])]
    pub(crate) dry_run: bool,
    /// Return when the reload was accepted
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) no_wait: bool,
    /// Wait for the outcome: so it is anyway
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// Another program, and its arguments
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    /// The worker of this slot only
    #[arg(value_parser = values::slot)]
    pub(crate) slot: Option<u32>,
    /// Return when the restart was accepted
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) no_wait: bool,
    /// Wait for the outcome: so it is anyway
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct StopArgs {
    /// Kill the workers instead of letting them finish
    #[arg(long)]
    pub(crate) now: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct SignalArgs {
    /// Its name, with or without SIG, or its number
    #[arg(value_name = "SIG", value_parser = values::signal)]
    pub(crate) signal: String,
    /// To the worker of this slot only
    #[arg(value_parser = values::slot)]
    pub(crate) slot: Option<u32>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// The message: node hears the value that it is as JSON, else a string
    #[arg(allow_hyphen_values = true)]
    pub(crate) message: String,
    /// To the worker of this slot only
    #[arg(long, value_parser = values::slot)]
    pub(crate) slot: Option<u32>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}
