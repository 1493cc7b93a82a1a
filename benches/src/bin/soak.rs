//! `soak [WHAT...] [OPTIONS]`: hours of misfortune in minutes, and what much work leaves behind in a primary.
//!
//! Owns how long is long. Ends with 1 if one of them has failed. The trials themselves are in `trials`, and run briefly
//! in the tests too.
#![expect(clippy::print_stdout, reason = "a report")]

use std::process::ExitCode;
use std::time::Duration;

use clustr_benches::places::Places;
use clustr_benches::primary::Primary;
use clustr_benches::soak::{self, Growth};
use clustr_benches::trials::{self, Outcome, Reloads, Subject};

/// So much more memory, over both runs.
const GROWTH_BYTES_MAX: u64 = 200_000;

/// All ways of sharing.
const SHARES: [&str; 3] = ["shared", "per-worker", "handoff"];

/// What can be asked for.
struct Part {
    name: &'static str,
    run: fn(&Places, &[String]) -> Result<(), String>,
}

const PARTS: [Part; 7] = [
    Part { name: "memory", run: memory },
    Part { name: "storm", run: |places, words| in_each(places, words, "--kills", 500, storm) },
    Part { name: "outage", run: |places, words| in_each(places, words, "--outages", 10, trials::outage) },
    Part { name: "scaling", run: |places, words| in_each(places, words, "--rounds", 10, scaling) },
    Part { name: "shortage", run: |places, words| in_each(places, words, "--times", 5, shortage) },
    Part { name: "lingering", run: |places, words| in_each(places, words, "--clinging", 50, lingering) },
    Part { name: "reload", run: |places, words| in_each(places, words, "--reloads", 10, reload) },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for, past what fails.
fn run(words: &[String]) -> Result<(), String> {
    let chosen: Vec<&str> =
        words.iter().map(String::as_str).take_while(|word| !word.starts_with('-')).collect();
    if let Some(strange) = chosen.iter().find(|word| !PARTS.iter().any(|part| part.name == **word)) {
        let names = PARTS.map(|part| part.name).join(", ");
        return Err(format!("'{strange}' is none of {names}"));
    }
    let places = Places::find()?;
    let mut faults = Vec::new();
    for part in PARTS.iter().filter(|part| chosen.is_empty() || chosen.contains(&part.name)) {
        println!("\n==> {}", part.name);
        if let Err(why) = (part.run)(&places, words) {
            println!("FAILED {why}");
            faults.push(part.name);
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("failed: {}", faults.join(", "))) }
}

/// A trial in each sharing, past those that fail.
fn in_each(
    places: &Places,
    words: &[String],
    option: &str,
    otherwise: u32,
    trial: impl Fn(Subject<'_>, u32) -> Outcome,
) -> Result<(), String> {
    let count = number(words, option, otherwise)?;
    let mut faults = Vec::new();
    for share in SHARES {
        if share == "per-worker" && trials::kernel_migrates() {
            println!("skipped: net.ipv4.tcp_migrate_req = 0 not found");
            continue;
        }
        match trial(Subject { clustr: &places.clustr, share }, count) {
            Ok(line) => println!("{line}"),
            Err(why) => faults.push(format!("{share}: {why}")),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn storm(subject: Subject<'_>, kills: u32) -> Outcome {
    trials::storm(subject, kills as usize)
}

fn shortage(subject: Subject<'_>, times: u32) -> Outcome {
    (0..times).map(|_| trials::shortage(subject)).collect::<Result<Vec<_>, _>>().map(|lines| lines.join("\n"))
}

/// With a `--stop-timeout` that none of the old workers would reach: they are pressed for room.
fn lingering(subject: Subject<'_>, reloads: u32) -> Outcome {
    trials::lingering(subject, reloads, Duration::from_secs(60))
}

/// Over TCP and, where a Unix socket can be shared so, over that.
fn reload(subject: Subject<'_>, count: u32) -> Outcome {
    let over = |unix| trials::reloads(subject, Reloads { count, per_second: None, unix });
    let tcp = over(false)?;
    if subject.share == "per-worker" {
        return Ok(tcp);
    }
    Ok(format!("{tcp}\n{}", over(true)?))
}

fn scaling(subject: Subject<'_>, rounds: u32) -> Outcome {
    trials::scaling(subject, 8, rounds)
}

/// What 100,000 connections and 10,000 restarts leave behind.
fn memory(places: &Places, words: &[String]) -> Result<(), String> {
    let connections = number(words, "--connections", 100_000)?;
    let restarts = number(words, "--restarts", 10_000)?;
    let primary = Primary::start(&places.clustr, &["-n", "2"], &["node", &Places::peer("hello.js")])?;
    primary.wait_ready(2)?;
    primary.settle()?;
    let served = soak::connections(&primary, u64::from(connections))?;
    primary.stop()?;
    let told = tell(&format!("{connections} connections"), &served);
    let restarted = soak::restarts(&places.clustr, &places.trivial, restarts)?;
    let told = tell(&format!("{restarts} restarts"), &restarted) && told;
    let sum = served.bytes() + restarted.bytes();
    println!("together {sum} bytes more, {GROWTH_BYTES_MAX} allowed");
    if told && sum <= GROWTH_BYTES_MAX { Ok(()) } else { Err("the primary has grown".into()) }
}

fn tell(what: &str, growth: &Growth) -> bool {
    let Growth { before, after } = growth;
    let (from, to) = (before.descriptors, after.descriptors);
    println!("{what}: PSS {} → {} bytes, descriptors {from} → {to}", before.pss_bytes, after.pss_bytes);
    from == to
}

fn number(words: &[String], name: &str, otherwise: u32) -> Result<u32, String> {
    match words.iter().position(|word| word == name) {
        None => Ok(otherwise),
        Some(at) => {
            let value = words.get(at + 1).and_then(|word| word.parse().ok());
            value.ok_or_else(|| format!("{name} needs a number"))
        }
    }
}
