//! That a generation is what it was when it began.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::control::protocol::{Change, FileChange, VariableChanges};

const FIRST: Generation = Generation(1);
const SECOND: Generation = Generation(2);

/// A folder with two releases, each with an executable `server`, and `current`, a link to the first.
fn releases() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for release in ["one", "two"] {
        let path = folder.path().join(release);
        std::fs::create_dir(&path).unwrap();
        write(&path.join("server"), release);
    }
    symlink("one", folder.path().join("current")).unwrap();
    folder
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n# {text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn turn(folder: &Path) {
    std::fs::remove_file(folder.join("current")).unwrap();
    symlink("two", folder.join("current")).unwrap();
}

fn program(command: &Path, cwd: Option<PathBuf>) -> Program {
    Program { command: vec![command.into()], env: vec![("A".into(), "1".into())], cwd }
}

fn generations(program: Program) -> Generations {
    let mut generations = Generations::new(program, None, (256, 1024)).unwrap();
    generations.folder = None;
    generations
}

fn path(generations: &Generations, generation: Generation) -> PathBuf {
    generations.launcher(generation).unwrap().program_path().unwrap()
}

#[test]
fn links_to_a_release_are_followed_when_a_generation_begins_and_not_again() {
    let folder = releases();
    let real = folder.path().canonicalize().unwrap();
    let mut generations = generations(program(&folder.path().join("current/server"), None));
    turn(folder.path());
    assert_eq!(generations.begin(Ticket(1), SECOND, FIRST), None);
    assert_eq!(path(&generations, FIRST), real.join("one/server"));
    assert_eq!(path(&generations, SECOND), real.join("two/server"));
}

#[test]
fn the_working_folder_is_followed_too() {
    let folder = releases();
    let real = folder.path().canonicalize().unwrap();
    let program = program(Path::new("./server"), Some(folder.path().join("current")));
    let mut generations = generations(program);
    turn(folder.path());
    assert_eq!(generations.begin(Ticket(1), SECOND, FIRST), None);
    assert_eq!(path(&generations, FIRST), real.join("one/./server"));
    assert_eq!(path(&generations, SECOND), real.join("two/./server"));
}

#[test]
fn a_program_that_was_replaced_in_its_place_is_named() {
    let folder = releases();
    let server = folder.path().canonicalize().unwrap().join("one/server");
    let mut generations = generations(program(&server, None));
    write(&folder.path().join("other"), "new");
    std::fs::rename(folder.path().join("other"), &server).unwrap();
    assert_eq!(generations.begin(Ticket(1), SECOND, FIRST), Some(server));
    assert_eq!(generations.begin(Ticket(2), Generation(3), SECOND), None);
}

#[test]
fn what_reloads_change_adds_up_and_what_they_do_not_name_stays() {
    let folder = releases();
    let mut generations = generations(program(&folder.path().join("one/server"), None));
    let env = |pairs: &[(&str, &str)]| -> Variables {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    generations.keep(Ticket(1), Wish { env: env(&[("B", "1"), ("C", "1")]), command: Vec::new() });
    generations.begin(Ticket(1), SECOND, FIRST);
    let other: OsString = folder.path().join("two/server").into();
    generations.keep(Ticket(2), Wish { env: env(&[("B", "2")]), command: vec![other.clone()] });
    generations.begin(Ticket(2), Generation(3), SECOND);
    let third = &generations.known[&Generation(3)];
    assert_eq!(third.program.env, env(&[("A", "1"), ("C", "1"), ("B", "2")]));
    assert_eq!(third.program.command, [other]);
    // One that was never kept, as a signal's, changes nothing.
    generations.begin(Ticket(9), Generation(4), FIRST);
    assert_eq!(generations.known[&Generation(4)].program.env, env(&[("A", "1")]));
}

#[test]
fn a_generation_that_cannot_be_started_is_known_and_says_why() {
    let folder = releases();
    let mut generations = generations(program(&folder.path().join("one/server"), None));
    generations.keep(Ticket(1), Wish { env: Vec::new(), command: vec!["/nowhere/server".into()] });
    generations.begin(Ticket(1), SECOND, FIRST);
    let error = generations.launcher(SECOND).unwrap_err();
    assert!(error.to_string().contains("/nowhere/server"), "{error}");
    assert_eq!(error.fault(), clustr_core::SpawnFault::Program);
    generations.forget(SECOND);
    assert_eq!(generations.known.len(), 1);
}

#[test]
fn variables_of_files_are_read_at_each_reload() {
    let folder = releases();
    let file = folder.path().join("env");
    std::fs::write(&file, "1").unwrap();
    let read = FreshEnv::new(move || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        Ok(vec![("F".into(), text.into())])
    });
    let program = program(&folder.path().join("one/server"), None);
    let mut generations = Generations::new(program, Some(read), (256, 1024)).unwrap();
    generations.begin(Ticket(1), SECOND, FIRST);
    assert_eq!(generations.known[&SECOND].program.env, [("F".into(), "1".into())]);
    std::fs::remove_file(folder.path().join("env")).unwrap();
    generations.begin(Ticket(2), Generation(3), SECOND);
    assert!(generations.launcher(Generation(3)).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn a_reload_that_would_change_nothing_differs_in_nothing() {
    let folder = releases();
    let generations = generations(program(&folder.path().join("one/server"), Some(folder.path().into())));
    let same = generations.difference(Wish::default(), FIRST);
    assert_eq!(same, Difference { generation: 1, ..Difference::default() });
}

#[test]
fn a_difference_names_what_would_change_and_no_values() {
    let folder = releases();
    let real = folder.path().canonicalize().unwrap();
    let env_file = folder.path().join("variables");
    std::fs::write(&env_file, "KEPT").unwrap();
    let read = {
        let env_file = env_file.clone();
        move || {
            let names = std::fs::read_to_string(&env_file).map_err(|error| error.to_string())?;
            Ok(names.split(' ').map(|name| (name.into(), "secret".into())).collect())
        }
    };
    let program = program(&folder.path().join("current/server"), Some(folder.path().join("current")));
    let program =
        Program { env: vec![("KEPT".into(), "secret".into()), ("GONE".into(), "secret".into())], ..program };
    let fresh = FreshEnv::new(read).of_files(vec![env_file.clone()]);
    let generations = Generations::new(program, Some(fresh), (256, 1024)).unwrap();
    turn(folder.path());
    std::fs::write(&env_file, "KEPT NEW").unwrap();
    let env = vec![("KEPT".into(), "another secret".into())];
    let found = generations.difference(Wish { env, command: Vec::new() }, FIRST);
    let in_release = |release: &str, file: &str| real.join(release).join(file).display().to_string();
    assert_eq!(found.command, None);
    let moved = |file| Some(Change { from: in_release("one", file), to: in_release("two", file) });
    assert_eq!((found.program.clone(), found.folder.clone()), (moved("server"), moved("").map(trimmed)));
    let one = |name: &str| vec![name.to_owned()];
    let variables = VariableChanges { added: one("NEW"), changed: one("KEPT"), removed: one("GONE") };
    assert_eq!(found.variables, variables);
    let path = env_file.display().to_string();
    assert_eq!(found.files, [FileChange { path, change: "replaced".into() }]);
    assert!(!serde_json::to_string(&found).unwrap().contains("secret"));
}

fn trimmed(Change { from, to }: Change<String>) -> Change<String> {
    let trim = |text: String| text.trim_end_matches('/').to_owned();
    Change { from: trim(from), to: trim(to) }
}

#[test]
fn a_version_that_cannot_be_started_is_said_before_it_is_tried() {
    let folder = releases();
    let generations = generations(program(&folder.path().join("one/server"), None));
    let nowhere = Wish { env: Vec::new(), command: vec!["/nowhere/server".into()] };
    let found = generations.difference(nowhere, FIRST);
    assert!(found.error.unwrap().contains("/nowhere/server"));
    assert_eq!(found.command.unwrap().to, ["/nowhere/server"]);
    std::fs::remove_file(folder.path().join("one/server")).unwrap();
    let gone = generations.difference(Wish::default(), FIRST);
    assert_eq!(gone.files[0].change, "gone");
    assert!(gone.error.is_some());
}
