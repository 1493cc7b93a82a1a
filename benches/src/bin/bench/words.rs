//! What was asked for.
//!
//! Owns the words after `cargo xtask bench`; the names of parts stand in `benches/parts.txt`, which the chore reads too.
//! Never starts anything.

use std::path::PathBuf;
use std::time::Duration;

use crate::parts::{PARTS, Part};
use crate::peers::{KNOWN, Name};
use crate::setting::Effort;

/// What was asked for, with nothing unknown in it.
pub(crate) struct Words {
    pub(crate) parts: Vec<&'static Part>,
    pub(crate) peers: Vec<Name>,
    pub(crate) effort: Effort,
    /// An earlier run's JSON, to compare with.
    pub(crate) against: Option<PathBuf>,
    /// Whether the report goes into `docs/performance.md`, and its first numbers into the README.
    pub(crate) write: bool,
    /// How often everything is measured.
    pub(crate) times: u32,
    /// What builds and downloads have taken.
    pub(crate) spent: Duration,
    /// The command as it was typed.
    pub(crate) typed: String,
}

impl Words {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut asked = Self {
            parts: Vec::new(),
            peers: KNOWN.to_vec(),
            effort: Effort::Full,
            against: None,
            write: false,
            times: 1,
            spent: Duration::ZERO,
            typed: typed(words),
        };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "all" => asked.parts.extend(&PARTS),
                "--quick" => asked.effort = Effort::Quick,
                "--write" => asked.write = true,
                "--against" => asked.against = Some(words.next().ok_or("--against needs a file")?.into()),
                "--repeat" => asked.times = number(words.next(), 1..=TIMES_MAX)?,
                "--spent" => asked.spent = Duration::from_secs(number(words.next(), 0..=u32::MAX)?.into()),
                "--peers" => asked.peers = peers(words.next().ok_or("--peers needs names")?)?,
                name => asked.parts.push(part(name)?),
            }
        }
        if asked.parts.is_empty() {
            asked.parts.extend(&PARTS);
        }
        Ok(asked)
    }
}

/// What the chore adds was not typed.
fn typed(words: &[String]) -> String {
    let mut typed = String::from("cargo xtask bench");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--spent" {
            words.next();
        } else {
            typed.push(' ');
            typed.push_str(word);
        }
    }
    typed
}

/// Nobody means more.
const TIMES_MAX: u32 = 20;

fn number(word: Option<&str>, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    let word = word.unwrap_or_default();
    let number = word.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("'{word}' is no number from {} to {}", range.start(), range.end()))
}

fn part(name: &str) -> Result<&'static Part, String> {
    let found = PARTS.iter().find(|part| part.name == name);
    found.ok_or_else(|| format!("'{name}' is no part: {}", PARTS.each_ref().map(|part| part.name).join(", ")))
}

fn peers(list: &str) -> Result<Vec<Name>, String> {
    list.split(',').filter(|name| !name.is_empty() && *name != "none").map(peer).collect()
}

fn peer(name: &str) -> Result<Name, String> {
    let found = KNOWN.iter().find(|known| known.word() == name);
    found.copied().ok_or_else(|| {
        let known: Vec<_> = KNOWN.iter().map(|known| known.word()).collect();
        format!("'{name}' is no peer: {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Words, String> {
        Words::parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn nothing_asked_for_is_everything() {
        let asked = parse("").unwrap();
        assert_eq!((asked.parts.len(), asked.peers.len()), (PARTS.len(), KNOWN.len()));
        assert_eq!(asked.effort, Effort::Full);
    }

    #[test]
    fn parts_and_peers_are_chosen() {
        let asked = parse("restart memory --quick --peers node,nginx --against old.json --write").unwrap();
        assert!(asked.write && !parse("").unwrap().write);
        assert_eq!(asked.parts.iter().map(|part| part.name).collect::<Vec<_>>(), ["restart", "memory"]);
        assert_eq!(asked.peers, [Name::Node, Name::Nginx]);
        assert_eq!((asked.effort, asked.against), (Effort::Quick, Some("old.json".into())));
        assert!(parse("memory --peers none").unwrap().peers.is_empty());
    }

    #[test]
    fn everything_may_be_measured_several_times() {
        assert_eq!(parse("").unwrap().times, 1);
        let asked = parse("--repeat 3 --spent 75").unwrap();
        assert_eq!((asked.times, asked.spent), (3, Duration::from_secs(75)));
        assert_eq!(asked.typed, "cargo xtask bench --repeat 3", "what the chore adds was not typed");
    }

    #[test]
    fn unknown_words_are_named() {
        for (words, named) in [
            ("memroy", "memory"),
            ("--peers pm3", "pm2"),
            ("--against", "file"),
            ("--quik", "'--quik'"),
            ("--repeat 0", "'0'"),
            ("--repeat", "1 to 20"),
        ] {
            let why = parse(words).err().unwrap();
            assert!(why.contains(named), "{why}");
        }
    }

    #[test]
    fn the_parts_are_those_that_the_chore_knows() {
        let listed = include_str!("../../../parts.txt").lines();
        let listed: Vec<_> = listed.filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(PARTS.each_ref().map(|part| part.name).to_vec(), listed);
    }
}
