//! `clustr apply`: the running primary becomes what its file says.
//!
//! Owns what of a difference is changed live, what by a reload, and what needs a new start; then the order: nothing at all where
//! something needs a new start, the reload first, and workers are counted last. What differs, the primary says.

use std::collections::{BTreeMap, BTreeSet};

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

/// What an app takes to become what the file says.
#[derive(Serialize)]
struct Turn<'a> {
    app: String,
    #[serde(flatten)]
    steps: Steps,
    #[serde(skip)]
    plan: Option<&'a Plan>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    ok: bool,
    state: &'static str,
    apps: &'a [Turn<'a>],
}

pub(super) fn run(args: ApplyArgs) -> Result<u8, Failure> {
    let ApplyArgs { path, profile, dry_run, mut waiting } = args;
    let (plans, origin) = plan::of_file(FileArgs { file: path, profile }, Vec::new())?;
    if waiting.place.name.is_none() && waiting.place.control.is_none() {
        waiting.place.control = plans.first().and_then(|plan| plan.config.control.clone());
    }
    let turns = compare(&plans, &origin, &waiting)?;
    if dry_run {
        return tell(&turns, "dry-run", waiting.json);
    }
    if turns.iter().any(|turn| !turn.steps.restart.is_empty()) {
        return Err(Failure::NotDone {
            what: "some of what is different needs a new start; nothing was changed".to_owned(),
            detail: Some(listing(&turns, "is different")),
            hint: Some(format!("clustr stop && clustr run -d {}", file_words(&origin))),
        });
    }
    // Versions first: one that fails ends it, with the old ones serving and as many workers as before.
    for (plan, _) in turns.iter().filter(|turn| !turn.steps.reload.is_empty()).filter_map(Turn::due) {
        let ask = Ask::Reload {
            plan: Batches::All,
            slots: None,
            settle_ms: None,
            env: BTreeMap::new(),
            command: words(plan)?,
        };
        carry_out(ask, Work::Reload, &of_app(&waiting, plan))?;
    }
    for (plan, _) in turns.iter().filter(|turn| !turn.steps.live.is_empty()).filter_map(Turn::due) {
        carry_out(Ask::Scale { to: Some(plan.workers), by: None }, Work::Scale, &of_app(&waiting, plan))?;
    }
    tell(&turns, "done", waiting.json)
}

impl Turn<'_> {
    fn due(&self) -> Option<(&Plan, &Steps)> {
        self.plan.map(|plan| (plan, &self.steps))
    }
}

/// The same wish for one app alone.
fn of_app(waiting: &Waiting, plan: &Plan) -> Waiting {
    let mut waiting = waiting.clone();
    waiting.place.app = Some(plan.config.name.clone());
    waiting
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

/// What is different between the file and what runs; of one app alone, where that is wished.
fn compare<'a>(plans: &'a [Plan], origin: &Origin, waiting: &Waiting) -> Result<Vec<Turn<'a>>, Failure> {
    let mut place = waiting.place.clone();
    let wished = place.app.take();
    let mut running = target::connect(&place)?.status()?.apps;
    if !running.iter().any(|app| plans.iter().any(|plan| plan.config.name == app.name)) {
        return Err(not_from("other apps run there", origin));
    }
    let mut turns = Vec::new();
    for plan in plans {
        let name = plan.config.name.clone();
        let at = running.iter().position(|app| app.name == name);
        let Some(app) = at.map(|at| running.remove(at)) else {
            turns.push(Turn { steps: Steps::of_app(None, Some(&name)), app: name, plan: None });
            continue;
        };
        let steps = compare_one(plan, &app, origin, waiting)?;
        turns.push(Turn { app: name, steps, plan: Some(plan) });
    }
    let gone = running.into_iter().map(|app| Turn {
        steps: Steps::of_app(Some(&app.name), None),
        app: app.name,
        plan: None,
    });
    turns.extend(gone);
    match wished {
        None => Ok(turns),
        Some(app) if turns.iter().any(|turn| turn.app == app) => {
            Ok(turns.into_iter().filter(|turn| turn.app == app).collect())
        }
        Some(app) => Err(Failure::NotDone {
            what: format!("there is no app '{app}', neither in '{}' nor there", origin.typed.display()),
            detail: None,
            hint: Some("clustr apply --dry-run".to_owned()),
        }),
    }
}

fn compare_one(plan: &Plan, app: &AppStatus, origin: &Origin, waiting: &Waiting) -> Result<Steps, Failure> {
    let file = plan.config.settings.get("file");
    match app.settings.get("file") {
        running if running == file => {}
        Some(other) => return Err(not_from(&format!("it was started from {other}"), origin)),
        None => return Err(not_from("it was started without a file", origin)),
    }
    let mut client = target::connect(&of_app(waiting, plan).place)?;
    let (raw, _) = client.difference(Ask::Difference { env: BTreeMap::new(), command: words(plan)? })?;
    let difference: Difference = client::parse(raw.get())?;
    match &difference.error {
        Some(error) => Err(Failure::WouldFail(error.clone(), difference.hint.clone(), raw)),
        None => Ok(steps(plan, app, &difference)),
    }
}

fn not_from(why: &str, origin: &Origin) -> Failure {
    Failure::NotDone {
        what: format!("what runs cannot be made what '{}' says", origin.typed.display()),
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
    /// A whole app that comes or goes.
    fn of_app(from: Option<&str>, to: Option<&str>) -> Self {
        let step = Step::new("app", from.map(str::to_owned), to.map(str::to_owned));
        Self { restart: vec![step], ..Self::default() }
    }

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

fn tell(turns: &[Turn<'_>], state: &'static str, json: bool) -> Result<u8, Failure> {
    if json {
        let outcome = Outcome { ok: true, state, apps: turns };
        render::json(&serde_json::to_string(&outcome).map_err(|error| Failure::Output(error.into()))?)?;
    } else {
        let head = if state == "dry-run" { "would be changed; nothing was" } else { "changed" };
        render::output(&listing(turns, head))?;
    }
    Ok(exit_code::DONE)
}

/// App by app: what differs, or that nothing does.
fn listing(turns: &[Turn<'_>], head: &str) -> String {
    let one = |Turn { app, steps, .. }: &Turn<'_>| {
        if steps.is_empty() {
            format!("{app} is what the file says already")
        } else {
            format!("{app}: {head}\n{}", steps.listing())
        }
    };
    turns.iter().map(one).collect::<Vec<_>>().join("\n")
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
