//! `clustr completions`: for a shell, from the same definition that parses the command line.
//!
//! Owns the choice of what is offered: nothing that is hidden from the help, such as what this version does not have.

use clap::Command;
use clap_complete::Shell;

use crate::args;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;

pub(super) fn run(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&args::definition()), "clustr", &mut script);
    render::output_bytes(&script)?;
    Ok(exit_code::DONE)
}

/// The same command with what is shown of it.
fn shown(command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set() || arg.is_last_set()).cloned();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set()).map(shown);
    // clap keeps names for ever; this process ends when they are printed.
    Command::new(&*command.get_name().to_owned().leak())
        .about(about)
        .disable_help_subcommand(true)
        .args(args)
        .subcommands(commands)
}
