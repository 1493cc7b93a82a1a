//! From a configuration file to plans, one an app.
//!
//! Owns which file, and the folder in which everything in it is meant: its own. Never reads it: `config_file` does. Called by
//! `run`, `check` and `apply`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use clustr_supervisor::APPS_MAX;
use clustr_supervisor::config::{Addr, FreshEnv};

use super::{Plan, control_path, in_words, make, variables};
use crate::args::{self, FileArgs, RunOptions};
use crate::config_file::source::Fault;
use crate::config_file::{self, App, Wanted};
use crate::failure::Failure;
use crate::names;
use crate::render;

/// Where plans come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The file, in the folder that is the current one by now.
    pub(crate) file: PathBuf,
    /// The same, as it was typed.
    pub(crate) typed: PathBuf,
    pub(crate) profile: Option<String>,
    /// The primary's name, where the file has several apps.
    pub(crate) name: Option<String>,
    /// The folder in which the command was typed.
    pub(crate) typed_in: PathBuf,
}

/// What was asked for: a command with its options, or a file.
///
/// # Errors
/// The first wish that cannot be met; of a file, everything that makes no sense in it.
pub(crate) fn gather(
    from: FileArgs,
    options: RunOptions,
    command: Vec<OsString>,
    inherited: Vec<(u32, OwnedFd)>,
) -> Result<(Vec<Plan>, Option<Origin>), Failure> {
    if !command.is_empty() {
        return Ok((vec![make(options, command, inherited)?], None));
    }
    let (plans, origin) = of_file(from, inherited)?;
    Ok((plans, Some(origin)))
}

/// What a file asks for.
///
/// # Errors
/// Everything that makes no sense in it.
pub(crate) fn of_file(
    from: FileArgs,
    inherited: Vec<(u32, OwnedFd)>,
) -> Result<(Vec<Plan>, Origin), Failure> {
    let mut origin = enter(from)?;
    let wanted = origin.read()?;
    origin.name.clone_from(&wanted.name);
    for note in &wanted.notes {
        render::warning(
            &format!("{}: {note}", origin.typed.display()),
            "clustr init, for a clustr.toml of it",
        );
    }
    let (mut plans, mut faults) = (Vec::new(), Vec::new());
    for app in &wanted.apps {
        match plan(app, &mut origin) {
            Ok(plan) => plans.push(plan),
            Err(failure) => faults.push(app.blame(failure)?),
        }
    }
    if faults.is_empty() {
        faults = between(&wanted.apps, &plans);
    }
    if !faults.is_empty() {
        return Err(wanted.source.refuse(faults));
    }
    if let [first, _, ..] = &plans[..] {
        let name = origin.name.get_or_insert_with(own_folder).clone();
        let control = control_path(first.control_asked.clone(), &name)?;
        plans.iter_mut().for_each(|plan| plan.config.control = Some(control.clone()));
    }
    give(inherited, &mut plans);
    Ok((plans, origin))
}

/// What apps cannot have beside each other: they are as many as one primary runs, and no address is anybody else's.
fn between(apps: &[App], plans: &[Plan]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if apps.len() > APPS_MAX {
        faults.push(Fault::of_all(format!(
            "one primary runs at most {APPS_MAX} apps, and here are {}",
            apps.len()
        )));
    }
    let mut taken: Vec<(&Addr, &str)> = Vec::new();
    for (app, plan) in apps.iter().zip(plans) {
        let is_fixed = |addr: &&Addr| !matches!(addr, Addr::Tcp { port: 0, .. } | Addr::Udp { port: 0, .. });
        for addr in plan.config.listen.iter().map(|listen| &listen.addr).filter(is_fixed) {
            if let Some((_, name)) = taken.iter().find(|(other, _)| *other == addr) {
                faults.push(app.fault("listen", format!("{addr} is a listener of '{name}' already")));
            }
            taken.push((addr, &plan.config.name));
        }
    }
    faults
}

/// What the primary was started with goes to the app that names it as a listener, else to the first.
fn give(inherited: Vec<(u32, OwnedFd)>, plans: &mut [Plan]) {
    for (number, fd) in inherited {
        let is_named = |plan: &Plan| plan.config.listen.iter().any(|listen| listen.addr == Addr::Fd(number));
        let at = plans.iter().position(is_named).unwrap_or_default();
        plans[at].config.inherited.push((number, fd));
    }
}

impl Origin {
    /// How it is told: where the file is, and with which profile it was read.
    fn settings(&self) -> Vec<(String, String)> {
        let file = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        let profile = self.profile.iter().map(|profile| ("profile".to_owned(), profile.clone()));
        std::iter::once(("file".to_owned(), file.to_string_lossy().into_owned())).chain(profile).collect()
    }

    fn read(&self) -> Result<Wanted, Failure> {
        Wanted::read(&self.file, &self.typed, self.profile.as_deref())
    }
}

/// A primary of several apps that was given no name has that of the file's folder.
fn own_folder() -> String {
    names::of_folder(&std::env::current_dir().unwrap_or_default())
}

/// Everything in a file is meant from its folder: paths in it, and the programs that it starts.
fn enter(FileArgs { file, profile }: FileArgs) -> Result<Origin, Failure> {
    let typed = config_file::find(file)?;
    let typed_in = std::env::current_dir().unwrap_or_default();
    let folder = typed.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = match (folder, typed.file_name()) {
        // That it is not there is said better by whoever reads it.
        (Some(folder), Some(name)) if std::env::set_current_dir(folder).is_ok() => name.into(),
        _ => typed.clone(),
    };
    Ok(Origin { file, typed, profile, name: None, typed_in })
}

fn plan(app: &App, origin: &mut Origin) -> Result<Plan, Failure> {
    let mut options = args::beside(&app.words)?;
    if app.name.is_some() && app.name != options.name {
        // The name that the command line gives is the primary's.
        origin.name = std::mem::replace(&mut options.name, app.name.clone());
    }
    let files = options.env_file.clone();
    let is_read_again = files.iter().all(|file| file.is_file());
    let mut plan = make(options, app.command.clone(), Vec::new())?;
    plan.config.after.clone_from(&app.after);
    plan.config.settings = app.settings().into_iter().chain(origin.settings()).collect();
    plan.config.fresh_env = is_read_again.then(|| fresh_env(origin.clone(), app.name.clone(), files));
    Ok(plan)
}

/// How its variables are read anew at a reload: from the file, and from those that it names.
fn fresh_env(origin: Origin, app: Option<String>, mut files: Vec<PathBuf>) -> FreshEnv {
    files.push(origin.file.clone());
    let read = move || variables_now(&origin, app.as_deref()).map_err(|failure| in_words(&failure));
    FreshEnv::new(read).of_files(files)
}

type Variables = Vec<(OsString, OsString)>;

fn variables_now(origin: &Origin, app: Option<&str>) -> Result<Variables, Failure> {
    let wanted = origin.read()?;
    let Some(app) = wanted.apps.iter().find(|one| one.name.as_deref() == app) else {
        return Err(Failure::ConfigFile {
            what: format!("'{}' has no app '{}' any more", origin.typed.display(), app.unwrap_or_default()),
            detail: None,
            hint: None,
        });
    };
    let options = args::beside(&app.words)?;
    variables(&options.env_file, &options.env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_supervisor::Policy;
    use clustr_supervisor::config::{Config, Listen, Program};

    #[test]
    fn a_descriptor_goes_to_the_app_that_names_it_else_to_the_first() {
        let plan = |listen: Vec<Listen>| {
            let program = Program { command: vec!["app".into()], env: Vec::new(), cwd: None };
            let mut config = Config::new("app", program, Policy::builder(1).build().unwrap());
            config.listen = listen;
            Plan { config, workers: 1, odd: None, control_asked: None }
        };
        let mut plans = [plan(Vec::new()), plan(vec![Listen::new("web", Addr::Fd(5))])];
        let descriptor = || std::fs::File::open("/dev/null").unwrap().into();
        give(vec![(5, descriptor()), (6, descriptor())], &mut plans);
        let numbers =
            plans.map(|plan| plan.config.inherited.iter().map(|(number, _)| *number).collect::<Vec<_>>());
        assert_eq!(numbers, [[6], [5]]);
    }
}
