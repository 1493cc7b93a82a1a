//! What the command line promises and this version does not have.
//!
//! Owns the names of such options and commands, and what to do until they are there: they are recognised and
//! refused, never ignored and never unknown. A line here goes away when its feature arrives.

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};

/// An option of `run` that is not in this version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AbsentOption {
    pub(crate) long: &'static str,
    short: Option<char>,
    takes_value: bool,
    /// What to do instead.
    pub(crate) instead: &'static str,
}

/// Every such option.
pub(crate) const OPTIONS: [AbsentOption; 4] = [
    valued("port", None, "leave it out: every port that the program listens on is shared"),
    valued("private-port", None, "let the program listen with exclusive: true on a port of its own"),
    flag("share-zero", None, "leave it out: listen(0) gives all workers the same port"),
    flag("no-intercept", None, "leave it out: nothing is intercepted"),
];

/// Every such command, and what to do instead.
pub(crate) const COMMANDS: [(&str, &str); 2] = [
    ("logs", "the output of clustr run holds them; clustr events follows the workers' lives"),
    ("doctor", "clustr check -- COMMAND"),
];

const fn valued(long: &'static str, short: Option<char>, instead: &'static str) -> AbsentOption {
    AbsentOption { long, short, takes_value: true, instead }
}

const fn flag(long: &'static str, short: Option<char>, instead: &'static str) -> AbsentOption {
    AbsentOption { long, short, takes_value: false, instead }
}

/// The first such option on the command line, if there is one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absent(pub(crate) Option<AbsentOption>);

impl AbsentOption {
    fn arg(self) -> Arg {
        let arg = Arg::new(self.long).long(self.long).hide(true);
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        if self.takes_value {
            arg.action(ArgAction::Append).num_args(1).value_parser(ValueParser::os_string())
        } else {
            arg.action(ArgAction::Count)
        }
    }

    fn is_in(self, matches: &ArgMatches) -> bool {
        if self.takes_value { matches.contains_id(self.long) } else { matches.get_count(self.long) > 0 }
    }
}

impl Args for Absent {
    fn augment_args(cmd: Command) -> Command {
        cmd.args(OPTIONS.map(AbsentOption::arg))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for Absent {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(OPTIONS.into_iter().find(|option| option.is_in(matches))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

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
