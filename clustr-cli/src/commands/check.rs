//! `clustr check`: what `run` would do, without doing it.
//!
//! Owns the listing, in which no secret stands. The plan is the one that `run` makes; the command is looked up as the primary would.

mod picture;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clustr_core::Backoff;
use clustr_supervisor::StartError;
use clustr_supervisor::config::{
    Balance, Chosen, Config, Delivery, Listen, Liveness, NewsFormat, Output, Program, ReadyWhen, Recycling,
    Share,
};

use super::plan::{self, Plan};
use crate::args::CheckArgs;
use crate::config_file::schema;
use crate::exit_code;
use crate::failure::Failure;
use crate::names::shell_line;
use crate::render::{self, plain, secrets, units};

pub(super) fn run(args: CheckArgs) -> Result<u8, Failure> {
    let CheckArgs { path, mut from, options, json, schema, command } = args;
    if schema {
        render::json(&schema::text())?;
        return Ok(exit_code::DONE);
    }
    from.file = from.file.or(path);
    let (plans, origin) = plan::gather(from, options, command, Vec::new())?;
    let found = |plan: &Plan| clustr_supervisor::find_program(&plan.config.program);
    let found: Vec<PathBuf> = plans.iter().map(found).collect::<Result<_, _>>()?;
    let apps: Vec<(&Plan, &Path)> = plans.iter().zip(found.iter().map(PathBuf::as_path)).collect();
    if json {
        render::json(&picture::json(&apps, origin.as_ref())?)?;
    } else {
        let listings: Result<Vec<String>, StartError> =
            apps.iter().map(|(plan, found)| listing(plan, found)).collect();
        render::output(&listings?.join("\n"))?;
    }
    for (what, instead) in plans.iter().flat_map(Plan::warnings) {
        render::warning(&what, &instead);
    }
    Ok(exit_code::DONE)
}

fn listing(plan: &Plan, found: &Path) -> Result<String, StartError> {
    let Config {
        name,
        program,
        policy,
        listen,
        delivery,
        ready,
        live,
        watchdog,
        recycling,
        output,
        news,
        control,
        ..
    } = &plan.config;
    let time = |span| humantime::format_duration(span).to_string();
    let mut rows = vec![
        ("name", name.clone()),
        ("command", shell_line(&program.command)),
        ("program", found.display().to_string()),
        ("folder", folder(program)),
        ("workers", plan.workers.to_string()),
        ("sharing", sharing_words(&plan.config)?),
        ("delivery", delivery_words(*delivery, !listen.is_empty())),
        ("ready", format!("{}, within {}", ready_word(ready), time(policy.ready_timeout()))),
        ("stop", stop_words(&plan.config)),
        ("rests", rest_words(policy.backoff())),
        ("output", format!("{}, news as {}", output_word(*output), news_word(*news))),
    ];
    if !listen.is_empty() {
        let named = |listen: &Listen| format!("{}={}", listen.name, listen.addr);
        rows.push(("listeners", listen.iter().map(named).collect::<Vec<_>>().join(", ")));
    }
    if let Some(Liveness { probe, every, timeout, failures }) = live {
        let words = format!("{probe} every {}, within {}, {failures} in a row", time(*every), time(*timeout));
        rows.push(("liveness", words));
    }
    if let Some(every) = watchdog {
        rows.push(("watchdog", time(*every)));
    }
    let recycled = recycling_words(recycling, policy.max_age());
    if !recycled.is_empty() {
        rows.push(("recycling", recycled));
    }
    if let Some(control) = control {
        rows.push(("control", control.display().to_string()));
    }
    let variables = secrets::shown(&program.env).into_iter().map(|(name, value)| format!("{name}={value}"));
    let variables: Vec<String> = variables.collect();
    if !variables.is_empty() {
        rows.push(("variables", shell_line(variables)));
    }
    if !plan.config.after.is_empty() {
        rows.push(("after", plan.config.after.join(", ")));
    }
    Ok(rows.iter().map(|(word, text)| format!("{word:<11}{}\n", plain::line(text))).collect())
}

fn stop_words(Config { stop_signal, policy, die_with_primary, .. }: &Config) -> String {
    let within = humantime::format_duration(policy.stop_timeout());
    let besides = if *die_with_primary { "; killed with the primary" } else { "" };
    format!("{stop_signal}, within {within}{besides}")
}

fn rest_words(Backoff { first, cap, .. }: Backoff) -> String {
    let [first, cap] = [first, cap].map(|span| humantime::format_duration(span).to_string());
    if first == cap { first } else { format!("{first} at first, {cap} at most") }
}

fn recycling_words(recycling: &Recycling, max_age: Option<Duration>) -> String {
    let Recycling { max_rss_bytes, max_requests, at } = recycling;
    let words = [
        max_rss_bytes.map(|bytes| format!("beyond {}", units::bytes(bytes))),
        max_age.map(|age| format!("after {}", humantime::format_duration(age))),
        max_requests.map(|count| format!("after {count} connections")),
    ];
    words
        .into_iter()
        .flatten()
        .chain(at.iter().map(|time| format!("at {time}")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn folder(program: &Program) -> String {
    let here = || std::env::current_dir().unwrap_or_default();
    program.cwd.as_deref().map_or_else(here, Path::to_path_buf).display().to_string()
}

fn sharing_words(config: &Config) -> Result<String, StartError> {
    let Chosen { share, why } = config.chosen_share()?;
    let or = |default| if config.balance == Balance::Auto { default } else { config.balance.name() };
    let words = match share {
        Share::Auto | Share::Shared => "shared".to_owned(),
        Share::PerWorker => format!("per-worker, {}", or("hash")),
        Share::Handoff => format!("handoff, {}", or("round-robin")),
    };
    Ok(why.map_or_else(|| words.clone(), |why| format!("{words} ({why})")))
}

fn delivery_words(delivery: Delivery, listens: bool) -> String {
    delivery_list(delivery, listens).join(", ")
}

fn delivery_list(delivery: Delivery, listens: bool) -> Vec<&'static str> {
    let ways = [
        ("fds", listens && (delivery.fds || delivery.channel)),
        ("channel", listens && delivery.channel),
        ("node", delivery.node),
        ("intercept", delivery.intercept),
    ];
    ways.iter().filter(|(_, is_there)| *is_there).map(|(word, _)| *word).collect()
}

fn ready_word(ready: &ReadyWhen) -> String {
    match ready {
        ReadyWhen::Auto => "auto (the first listen, or the program's own word)".to_owned(),
        ReadyWhen::Listen => "the first listen".to_owned(),
        ReadyWhen::Message => "process.send('ready')".to_owned(),
        ReadyWhen::Notify => "READY=1 by sd_notify".to_owned(),
        ReadyWhen::Delay(delay) => format!("having lived for {}", humantime::format_duration(*delay)),
        ReadyWhen::Probe(probe) => format!("a good answer to {probe}"),
    }
}

const fn output_word(output: Output) -> &'static str {
    match output {
        Output::Prefix => "prefix",
        Output::Json => "json",
        Output::Inherit => "inherit",
        Output::None => "none",
    }
}

const fn news_word(news: NewsFormat) -> &'static str {
    match news {
        NewsFormat::Text => "text",
        NewsFormat::Json => "json",
        NewsFormat::None => "none",
    }
}
