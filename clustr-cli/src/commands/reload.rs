//! `clustr reload`: a new generation, and waits until it serves or the old one serves again.
//!
//! Owns the words of `--dry-run`. Which generation serves in the end, and what would be different, the primary says.

use std::ffi::OsString;

use clustr_supervisor::control::protocol::{Ask, Batches, Change, Difference};

use super::asking;
use crate::args::ReloadArgs;
use crate::args::values::Variable;
use crate::client::{self, Client};
use crate::exit_code;
use crate::failure::{Failure, Usage};
use crate::names::shell_line;
use crate::render::progress::Work;
use crate::render::{self, plain};
use crate::target;

pub(super) fn run(args: ReloadArgs) -> Result<u8, Failure> {
    let (plan, slots) = match (args.canary, args.rolling) {
        (Some(slots), _) => (Batches::Canary, Some(slots)),
        (None, Some(slots)) => (Batches::Rolling, Some(slots)),
        (None, None) => (Batches::All, None),
    };
    let variable = |Variable(name, value)| Ok((text(name)?, text(value)?));
    let env = args.env.into_iter().map(variable).collect::<Result<_, Failure>>()?;
    let settle_ms = args.settle.map(|settle| u64::try_from(settle.as_millis()).unwrap_or(u64::MAX));
    let (command, waiting) = (args.command, &args.waiting);
    if args.dry_run {
        let client = target::connect(&waiting.place)?;
        return dry_run(Ask::Difference { env, command }, waiting.json, client);
    }
    let ask = Ask::Reload { plan, slots, settle_ms, env, command };
    if args.no_wait {
        return asking::set_off(ask, &waiting.place, waiting.json);
    }
    asking::carry_out(ask, Work::Reload, waiting)?;
    Ok(exit_code::DONE)
}

/// The control protocol is JSON, whose strings are Unicode.
fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| {
        Failure::Usage(Usage {
            what: format!("'{}' is not Unicode", word.to_string_lossy()),
            detail: Some("a reload can carry nothing else".to_owned()),
            hint: None,
        })
    })
}

/// What would be different. A version that could not even be started is a failure, known before anything has happened.
fn dry_run(ask: Ask, json: bool, mut client: Client) -> Result<u8, Failure> {
    let (raw, line) = client.difference(ask)?;
    let difference: Difference = client::parse(raw.get())?;
    let fails = difference.error.is_some();
    // One document, whatever it came to: of a failure, `main` writes it.
    match json {
        true if fails => {}
        true => render::json(&line)?,
        false => render::output(&listing(&difference))?,
    }
    match difference.error {
        None => Ok(exit_code::DONE),
        Some(error) => Err(Failure::WouldFail(error, difference.hint, raw)),
    }
}

fn listing(difference: &Difference) -> String {
    let Difference { generation, command, program, folder, variables, files, .. } = difference;
    let mut rows = Vec::new();
    let mut change = |what: &str, from: String, to: String| {
        rows.push(format!("{what}:\n  - {}\n  + {}", plain::line(&from), plain::line(&to)));
    };
    if let Some(Change { from, to }) = command {
        change("command", shell_line(from), shell_line(to));
    }
    if let Some(Change { from, to }) = program {
        change("program", from.clone(), to.clone());
    }
    if let Some(Change { from, to }) = folder {
        change("folder", from.clone(), to.clone());
    }
    let names = [("+", &variables.added), ("~", &variables.changed), ("-", &variables.removed)];
    let names: Vec<String> = names
        .iter()
        .flat_map(|(sign, names)| names.iter().map(move |name| format!("\n  {sign} {name}")))
        .collect();
    if !names.is_empty() {
        rows.push(format!("variables:{}", names.concat()));
    }
    if !files.is_empty() {
        let file = files.iter().map(|file| format!("\n  ~ {} ({})", plain::line(&file.path), file.change));
        rows.push(format!("files:{}", file.collect::<String>()));
    }
    let head = format!("a reload would replace generation {generation}; nothing was changed");
    if rows.is_empty() {
        return format!("{head}\nno difference is known: the same command, variables, folder and files");
    }
    format!("{head}\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_supervisor::control::protocol::{FileChange, VariableChanges};

    #[test]
    fn a_dry_run_shows_what_would_be_different() {
        let one = |name: &str| vec![name.to_owned()];
        let change = |from: &str, to: &str| Some(Change { from: from.to_owned(), to: to.to_owned() });
        let difference = Difference {
            generation: 3,
            command: Some(Change {
                from: vec!["node".into(), "app.js".into()],
                to: vec!["node".into(), "my app.js".into()],
            }),
            program: None,
            folder: change("/srv/one", "/srv/two"),
            variables: VariableChanges { added: one("NEW"), changed: one("COLOUR"), removed: one("OLD") },
            files: vec![FileChange { path: "/srv/.env".into(), change: "replaced".into() }],
            error: None,
            hint: None,
        };
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!("dry_run", listing(&difference));
            let none = Difference { generation: 3, ..Difference::default() };
            insta::assert_snapshot!("dry_run_without_a_difference", listing(&none));
        });
    }
}
