//! The commands: one file each, each from its arguments to an exit code.
//!
//! Owns the way from a word to its command. Never holds policy: that is clustr-core's.

mod apply;
mod asking;
mod check;
mod completions;
mod detach;
mod doctor;
mod events;
mod export;
mod init;
mod list;
mod man;
mod plan;
mod reload;
mod restart;
mod run;
mod scale;
mod send;
mod signal;
mod status;
mod stop;
mod version;

use crate::args::absent::AbsentCommand;
use crate::args::{Cli, Command};
use crate::demo;
use crate::failure::Failure;

/// Does what was asked; the exit code.
///
/// # Errors
/// It could not be done.
pub(crate) fn dispatch(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Status(args) => status::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Scale(args) => scale::run(&args),
        Command::Signal(args) => signal::run(args),
        Command::Send(args) => send::run(args),
        Command::Reload(args) => reload::run(args),
        Command::Restart(args) => restart::run(&args),
        Command::Stop(args) => stop::run(&args),
        Command::List(args) => list::run(&args),
        Command::Check(args) => check::run(args),
        Command::Apply(args) => apply::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Export(args) => export::run(args),
        Command::Init(args) => init::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { folder } => man::run(folder.as_deref()),
        Command::Version { json } => version::run(json),
        Command::DemoWorker { port } => demo::work(port),
        Command::Absent(AbsentCommand { name, instead }) => {
            Err(Failure::Absent(format!("`clustr {name}` is"), instead.to_owned()))
        }
    }
}
