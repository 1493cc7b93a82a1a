//! `cargo xtask bench` and `cargo xtask soak`: measurements and long trials, which live in the `benches` package.
//!
//! Owns only the ways in: the words, checked before anything is built; the build of what is measured; the peers. So no
//! other chore compiles what is heavy. Never measures anything itself.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::{Outcome, nearest, peers, run};

/// The parts of the comparison: a name, and what it measures.
const PARTS: &str = include_str!("../../benches/parts.txt");

/// The comparison's own options.
const OPTIONS: &[&str] = &["--quick", "--peers", "--repeat", "--against", "--write", "--help"];

/// What was asked for, with nothing unknown in it.
#[derive(Debug, Default, Eq, PartialEq)]
struct Asked {
    words: Vec<String>,
    parts: Vec<String>,
    peers: Vec<&'static str>,
    help: bool,
}

/// The chore. `micro -- ARGS` gives ARGS to criterion; everything else goes to the side-by-side program.
pub(crate) fn run(args: &[String]) -> Outcome {
    if let [micro, dashes, rest @ ..] = args
        && (micro, dashes) == (&"micro".to_owned(), &"--".to_owned())
    {
        return run::run(suites().arg("--").args(rest));
    }
    let asked = Asked::parse(args)?;
    if asked.help {
        println!("{}", help());
        return Ok(());
    }
    let began = Instant::now();
    // At the same time: the one waits for compilers, the other for the network.
    std::thread::scope(|scope| {
        scope.spawn(|| peers::fetch(&asked.peers));
        build()
    })?;
    // What this took is missing to those who were promised an end within minutes.
    let spent = ["--spent".to_owned(), began.elapsed().as_secs().to_string()];
    run::run(program("bench").args(&asked.words).args(spent))
}

/// The chore `soak`.
pub(crate) fn soak(args: &[String]) -> Outcome {
    build()?;
    run::run(program("soak").args(args))
}

/// Builds what is measured, and what measures it. One by one: what clustr is built with must not depend on what the
/// benchmarks need of the same crates.
fn build() -> Outcome {
    run::run(&mut run::cargo(&["build", "--release", "--package", "clustr-cli"]))?;
    run::run(suites().arg("--no-run"))
}

/// criterion's suites, and all programs of the package with them: built as one, nothing is built twice.
fn suites() -> Command {
    run::cargo(&["bench", "--package", "clustr-benches", "--features", "report"])
}

/// A program of the package, as the suites' build leaves it.
fn program(name: &str) -> Command {
    let mut command = Command::new(run::root().join("target/release").join(name));
    command.current_dir(run::root());
    command
}

fn help() -> String {
    let names = peers::names().collect::<Vec<_>>().join(",");
    format!(
        "cargo xtask bench [PART...] [--quick] [--peers {names}|none]\n                  \
         [--repeat N] [--against REPORT.json] [--write]\n\
         cargo xtask bench micro -- ARGS       criterion, with its own arguments\n\n{PARTS}all         all of these\n\n\
         --quick ends within 6 minutes, builds included, everything within 30: each part has a share of that, and as many\n\
         rounds as fit. --repeat judges every goal in each of N runs. The report is in target/bench: report.md,\n\
         report.json, plots. --against compares with an earlier report.json; --write puts all parts' report into\n\
         docs/performance.md and README.md."
    )
}

impl Asked {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut asked = Self { peers: peers::names().collect(), ..Self::default() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let value = match arg.as_str() {
                "-h" | "--help" => {
                    asked.help = true;
                    continue;
                }
                "--peers" => {
                    let list = args.next().ok_or("--peers needs names")?;
                    asked.peers = peer_list(list)?;
                    Some(list.clone())
                }
                "--repeat" => Some(
                    args.next()
                        .and_then(|count| times(count))
                        .ok_or("--repeat needs a number from 1 to 20")?,
                ),
                "--against" => Some(absolute(args.next().ok_or("--against needs a file")?)?),
                "--quick" | "--write" => None,
                part if part == "all" || parts().any(|known| known == part) => {
                    asked.parts.push(part.to_owned());
                    None
                }
                other => return Err(unknown(other)),
            };
            asked.words.push(arg.clone());
            asked.words.extend(value);
        }
        if asked.words.iter().any(|word| word == "--write") && !parts().all(|part| asked.wants(part)) {
            return Err("--write needs all parts: a page of some would have lost the others".to_owned());
        }
        Ok(asked)
    }

    /// Whether a part is to be measured: nothing asked for is everything.
    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|asked| asked == "all" || asked == part)
    }
}

fn parts() -> impl Iterator<Item = &'static str> {
    PARTS.lines().filter_map(|line| line.split_whitespace().next())
}

fn peer_list(list: &str) -> Result<Vec<&'static str>, String> {
    let asked = list.split(',').filter(|name| !name.is_empty() && *name != "none");
    let find = |name: &str| {
        let why = || match nearest::nearest(name, peers::names()) {
            Some(near) => format!("no peer is called '{name}'; did you mean '{near}'?"),
            None => format!("no peer is called '{name}': {}", peers::names().collect::<Vec<_>>().join(", ")),
        };
        peers::names().find(|known| *known == name).ok_or_else(why)
    };
    asked.map(find).collect()
}

/// A number that the program will take.
fn times(count: &str) -> Option<String> {
    count.parse().is_ok_and(|count: u32| (1..=20).contains(&count)).then(|| count.to_owned())
}

/// The program runs elsewhere than whoever typed this.
fn absolute(file: &str) -> Result<String, String> {
    let path = std::path::absolute(Path::new(file)).map_err(|error| format!("'{file}': {error}"))?;
    if path.is_file() {
        Ok(path.to_string_lossy().into_owned())
    } else {
        Err(format!("no file is called '{file}'"))
    }
}

fn unknown(word: &str) -> String {
    let known = parts().chain(["all"]).chain(OPTIONS.iter().copied());
    match nearest::nearest(word, known) {
        Some(near) => format!("'{word}' is nothing that can be measured; did you mean '{near}'?"),
        None => format!("'{word}' is nothing that can be measured; `cargo xtask bench --help` lists all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Asked, String> {
        Asked::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn known_words_are_passed_on() {
        let asked = parse("throughput restart --quick --peers pm2,nginx").unwrap();
        assert_eq!(asked.words, ["throughput", "restart", "--quick", "--peers", "pm2,nginx"]);
        assert_eq!(asked.peers, ["pm2", "nginx"]);
        assert!(parse("--peers none").unwrap().peers.is_empty());
        assert_eq!(parse("").unwrap().peers.len(), peers::names().count());
    }

    #[test]
    fn a_typing_error_is_answered_with_the_nearest_word_before_anything_is_built() {
        for (typed, meant) in [
            ("throughptu", "'throughput'"),
            ("memroy", "'memory'"),
            ("--quik", "'--quick'"),
            ("--peers pm3", "'pm2'"),
            ("--peers guncorn", "'gunicorn'"),
            ("--peer node", "'--peers'"),
            ("--repaet 3", "'--repeat'"),
        ] {
            let why = parse(typed).unwrap_err();
            assert!(why.contains(meant), "{why}");
        }
        assert!(parse("frobnicate").unwrap_err().contains("--help"));
        assert!(parse("--repeat 0").unwrap_err().contains("1 to 20"));
        assert!(parse("--against no-such-file.json").unwrap_err().contains("no-such-file.json"));
    }

    #[test]
    fn only_a_report_of_everything_is_written_into_the_pages() {
        assert!(parse("throughput --write").unwrap_err().contains("all parts"));
        for words in ["--write", "all --write", "--quick --write --peers none"] {
            assert!(parse(words).unwrap().wants("memory"), "{words}");
        }
        assert!(!parse("throughput").unwrap().wants("micro"));
    }

    #[test]
    fn the_page_lists_every_part_and_peer() {
        let page = help();
        assert!(parts().chain(peers::names()).all(|name| page.contains(name)), "{page}");
    }
}
