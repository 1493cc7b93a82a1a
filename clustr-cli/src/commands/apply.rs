//! `clustr apply`: the running primary becomes what its file says.
//!
//! Owns what of a difference is changed live, what by a reload, and what needs a new start; then the order: nothing at all where
//! something needs a new start, the reload first, and workers are counted last. What differs, the primary says.

use std::collections::BTreeSet;

use clustr_supervisor::control::protocol::{AppStatus, Ask, Batches, Difference, VariableChanges};
use serde::Serialize;

use super::plan::{self, Origin, Plan};
use crate::args::{ApplyArgs, FileArgs, Waiting};
use crate::client::{self, ClientError};
use crate::exit_code;
use crate::failure::Failure;
use crate::names::shell_line;
use crate::render::progress::{self, Work};
use crate::render::{self, plain};
use crate::target;

/// What is different, by what it takes to change it.
#[derive(Debug, Default, Serialize)]
struct Steps {
    /// Changed while everybody serves.
    live: Vec<Step>,
    /// Changed by new workers.
    reload: Vec<Step>,
    /// Changed by a new primary alone.
    restart: Vec<Step>,
}

/// A key whose value is another. Of variables, names alone.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Step {
    key: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    ok: bool,
    state: &'static str,
    app: &'a str,
    #[serde(flatten)]
    steps: &'a Steps,
}

pub(super) fn run(args: ApplyArgs) -> Result<u8, Failure> {
    let ApplyArgs { path, profile, dry_run, mut waiting } = args;
    let (plans, origin) = plan::of_file(FileArgs { file: path, profile }, Vec::new())?;
    let plan = plan::only(plans)?;
    if waiting.place.name.is_none() && waiting.place.control.is_none() {
        waiting.place.control.clone_from(&plan.config.control);
    }
    let steps = compare(&plan, &origin, &waiting)?;
    if dry_run || steps.is_empty() {
        return tell(&plan, &steps, if dry_run { "dry-run" } else { "done" }, waiting.json);
    }
    if !steps.restart.is_empty() {
        return Err(Failure::NotDone {
            what: "some of what is different needs a new start; nothing was changed".to_owned(),
            detail: Some(steps.listing()),
            hint: Some(format!("clustr stop && clustr run -d {}", file_words(&origin))),
        });
    }
    if !steps.reload.is_empty() {
        let command = words(&plan)?;
        let ask = Ask::Reload {
            plan: Batches::All,
            slots: None,
            settle_ms: None,
            env: Default::default(),
            command,
        };
        carry_out(ask, Work::Reload, &waiting)?;
    }
    if !steps.live.is_empty() {
        carry_out(Ask::Scale { to: Some(plan.workers), by: None }, Work::Scale, &waiting)?;
    }
    tell(&plan, &steps, "done", waiting.json)
}

fn carry_out(ask: Ask, work: Work, waiting: &Waiting) -> Result<(), Failure> {
    let mut client = target::connect(&waiting.place)?;
    if let Some(timeout) = waiting.timeout {
        client.hurry(timeout);
    }
    if !waiting.json {
        client.attend(progress::witness(work))?;
    }
    client.carry_out(ask)?;
    Ok(())
}

/// What is different between the file and what runs.
fn compare(plan: &Plan, origin: &Origin, waiting: &Waiting) -> Result<Steps, Failure> {
    let mut client = target::connect(&waiting.place)?;
    let app = client.status()?.apps.into_iter().find(|app| app.name == plan.config.name);
    let Some(app) = app else {
        return Err(not_from(&origin.typed.display().to_string(), "another app runs there", origin));
    };
    let file = plan.config.settings.get("file");
    match app.settings.get("file") {
        running if running == file => {}
        Some(other) => {
            return Err(not_from(&plan.config.name, &format!("it was started from {other}"), origin));
        }
        None => return Err(not_from(&plan.config.name, "it was started without a file", origin)),
    }
    let (raw, _) = client.difference(Ask::Difference { env: Default::default(), command: words(plan)? })?;
    let difference: Difference = client::parse(raw.get())?;
    if let Some(error) = &difference.error {
        return Err(Failure::WouldFail(error.clone(), difference.hint.clone(), raw));
    }
    Ok(steps(plan, &app, &difference))
}

fn not_from(what: &str, why: &str, origin: &Origin) -> Failure {
    Failure::NotDone {
        what: format!("'{what}' cannot be made what '{}' says", origin.typed.display()),
        detail: Some(why.to_owned()),
        hint: Some(format!("clustr stop && clustr run -d {}", file_words(origin))),
    }
}

fn steps(plan: &Plan, app: &AppStatus, difference: &Difference) -> Steps {
    let mut steps = Steps::default();
    if app.wanted != plan.workers {
        steps.live.push(Step::new("workers", Some(app.wanted.to_string()), Some(plan.workers.to_string())));
    }
    if let Some(command) = &difference.command {
        steps.reload.push(Step::new(
            "command",
            Some(shell_line(&command.from)),
            Some(shell_line(&command.to)),
        ));
    }
    let VariableChanges { added, changed, removed } = &difference.variables;
    let named = |name: &String| format!("env.{name}");
    let hidden = || Some(render::secrets::HIDDEN.to_owned());
    steps.reload.extend(added.iter().map(|name| Step::new(&named(name), None, hidden())));
    steps.reload.extend(changed.iter().map(|name| Step::new(&named(name), hidden(), hidden())));
    steps.reload.extend(removed.iter().map(|name| Step::new(&named(name), hidden(), None)));
    let keys: BTreeSet<&String> = app.settings.keys().chain(plan.config.settings.keys()).collect();
    for key in keys {
        let (from, to) = (app.settings.get(key), plan.config.settings.get(key));
        if from != to {
            steps.restart.push(Step::new(key, from.cloned(), to.cloned()));
        }
    }
    steps
}

impl Step {
    fn new(key: &str, from: Option<String>, to: Option<String>) -> Self {
        Self { key: key.to_owned(), from, to }
    }

    fn words(&self) -> String {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from == to => format!("{} (changed)", self.key),
            (Some(from), Some(to)) => format!("{}: {from} -> {to}", self.key),
            (None, Some(to)) => format!("{}: + {to}", self.key),
            (Some(from), None) => format!("{}: - {from}", self.key),
            (None, None) => self.key.clone(),
        }
    }
}

impl Steps {
    const fn is_empty(&self) -> bool {
        self.live.is_empty() && self.reload.is_empty() && self.restart.is_empty()
    }

    fn listing(&self) -> String {
        let kinds = [("live", &self.live), ("by a reload", &self.reload), ("by a new start", &self.restart)];
        let rows = kinds.iter().flat_map(|(kind, steps)| {
            steps.iter().map(move |step| format!("{kind:<15}{}", plain::line(&step.words())))
        });
        rows.collect::<Vec<_>>().join("\n")
    }
}

fn tell(plan: &Plan, steps: &Steps, state: &'static str, json: bool) -> Result<u8, Failure> {
    let name = &plan.config.name;
    if json {
        let outcome = Outcome { ok: true, state, app: name, steps };
        render::json(&serde_json::to_string(&outcome).map_err(|error| Failure::Output(error.into()))?)?;
    } else if steps.is_empty() {
        render::output(&format!("{name} is what the file says already"))?;
    } else {
        let head = if state == "dry-run" { "would be changed; nothing was" } else { "changed" };
        render::output(&format!("{name}: {head}\n{}", steps.listing()))?;
    }
    Ok(exit_code::DONE)
}

/// The command as the control protocol carries it: its strings are Unicode.
fn words(plan: &Plan) -> Result<Vec<String>, ClientError> {
    let word = |word: &std::ffi::OsString| word.to_str().map(str::to_owned);
    let words: Option<Vec<String>> = plan.config.program.command.iter().map(word).collect();
    words.ok_or_else(|| ClientError::Garbled("the command is not Unicode".to_owned()))
}

fn file_words(origin: &Origin) -> String {
    let file = origin.typed.to_string_lossy().into_owned();
    let mut words = vec!["-f".to_owned(), file];
    words.extend(origin.profile.iter().flat_map(|profile| ["--profile".to_owned(), profile.clone()]));
    shell_line(words)
}
