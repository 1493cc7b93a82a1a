//! What the command line promises and this version does not have.
//!
//! Owns the names of such commands, and what to do until they are there: they are recognised and refused, never ignored and
//! never unknown. A line here goes away when its feature arrives.

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, FromArgMatches, Subcommand};

/// Every such command, and what to do instead.
pub(crate) const COMMANDS: [(&str, &str); 1] =
    [("logs", "the output of clustr run holds them; clustr events follows the workers' lives")];

/// One of [`COMMANDS`], whatever words follow it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AbsentCommand {
    pub(crate) name: &'static str,
    pub(crate) instead: &'static str,
}

impl AbsentCommand {
    fn named(wanted: &str) -> Option<Self> {
        let (name, instead) = COMMANDS.into_iter().find(|(name, _)| *name == wanted)?;
        Some(Self { name, instead })
    }
}

impl Subcommand for AbsentCommand {
    fn augment_subcommands(cmd: Command) -> Command {
        let words = || {
            let words = Arg::new("words").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
            words.value_parser(ValueParser::os_string())
        };
        let command = |name| Command::new(name).hide(true).disable_help_flag(true).arg(words());
        cmd.subcommands(COMMANDS.map(|(name, _)| command(name)))
    }

    fn augment_subcommands_for_update(cmd: Command) -> Command {
        Self::augment_subcommands(cmd)
    }

    fn has_subcommand(name: &str) -> bool {
        Self::named(name).is_some()
    }
}

impl FromArgMatches for AbsentCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = matches.subcommand_name().and_then(Self::named);
        found.ok_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
