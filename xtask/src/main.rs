//! The project's chores: `cargo xtask CHORE`.
//!
//! Owns the table of chores and nothing else. Never has a dependency: every chore starts by compiling this.
#![allow(
    clippy::disallowed_methods,
    reason = "a chore starts programs and waits for them; there is no loop to block"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a chore speaks to whoever typed it")]

mod apps;
mod bare;
mod bench;
mod ci;
mod compat;
mod languages;
mod nearest;
mod nodes;
mod package;
mod peers;
mod programs;
mod python;
mod run;
mod sharing;
mod test;
mod tidy;
mod tools;
mod trees;

use std::process::ExitCode;

/// How a chore ends: well, or with what was wrong, already in words.
type Outcome = Result<(), String>;

/// Something that can be typed after `cargo xtask`.
struct Chore {
    name: &'static str,
    does: &'static str,
    run: fn(&[String]) -> Outcome,
}

const CHORES: &[Chore] = &[
    Chore { name: "test", does: "[ARGS] fetch what the tests need, then run them all", run: test::run },
    Chore { name: "ci", does: "tidy, packages, dependencies, formatting, clippy, docs", run: ci::run },
    Chore { name: "tidy", does: "the house rules, every finding as `file:line: message`", run: tidy::run },
    Chore { name: "package", does: "each crate packed as it would be published", run: package::run },
    Chore { name: "bare", does: "the core, built where there is no std", run: bare::run },
    Chore { name: "trees", does: "[--write] docs/dependencies.md beside cargo tree", run: trees::run },
    Chore {
        name: "compat",
        does: "[MAJOR...|sharing|programs] [--write] on each node, in each sharing, with each program",
        run: compat::run,
    },
    Chore {
        name: "bench",
        does: "[PART...] [OPTIONS] side by side with peers; `bench --help` lists the parts",
        run: bench::run,
    },
    Chore {
        name: "soak",
        does: "[WHAT] [OPTIONS] long trials under load: memory, storm, outage, scaling, shortage, …",
        run: bench::soak,
    },
    Chore { name: "help", does: "this page", run: help },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = args.split_first().map_or(("help", &args[..]), |(name, rest)| (name.as_str(), rest));
    let Some(chore) = find(name) else {
        eprintln!("xtask: {}", unknown(name));
        return ExitCode::from(2);
    };
    match (chore.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask {}: {why}", chore.name);
            ExitCode::FAILURE
        }
    }
}

fn find(name: &str) -> Option<&'static Chore> {
    let name = if matches!(name, "-h" | "--help") { "help" } else { name };
    CHORES.iter().find(|chore| chore.name == name)
}

fn unknown(name: &str) -> String {
    let names = CHORES.iter().map(|chore| chore.name);
    match nearest::nearest(name, names) {
        Some(near) => format!("no chore is called '{name}'; did you mean `cargo xtask {near}`?"),
        None => format!("no chore is called '{name}'; `cargo xtask help` lists them"),
    }
}

fn help(_: &[String]) -> Outcome {
    println!("cargo xtask CHORE\n");
    for chore in CHORES {
        println!("  {:<8}{}", chore.name, chore.does);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_chore_names_the_nearest_one() {
        assert!(unknown("tidi").contains("`cargo xtask tidy`"));
        assert!(unknown("frobnicate").contains("help"));
    }

    #[test]
    fn every_chore_has_a_name_of_its_own() {
        for chore in CHORES {
            assert_eq!(CHORES.iter().filter(|other| other.name == chore.name).count(), 1, "{}", chore.name);
        }
    }
}
