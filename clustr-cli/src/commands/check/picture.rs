//! `clustr check --json`: the same for scripts.
//!
//! Owns the names of its fields, which stay. Secrets are hidden here too.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clustr_supervisor::StartError;
use clustr_supervisor::config::{Chosen, Config, Listen};
use serde::Serialize;

use super::super::plan::{Origin, Plan};
use super::{delivery_list, news_word, output_word};
use crate::failure::Failure;
use crate::render::secrets;

#[derive(Serialize)]
struct Picture<'a> {
    version: u8,
    /// The configuration file; null: the command line alone.
    file: Option<&'a Path>,
    profile: Option<&'a str>,
    /// The primary's, where the file has several apps.
    name: Option<&'a str>,
    apps: Vec<App<'a>>,
}

#[derive(Serialize)]
struct App<'a> {
    name: &'a str,
    after: &'a [String],
    command: Vec<String>,
    program: &'a Path,
    folder: String,
    workers: u32,
    share: &'static str,
    share_why: Option<String>,
    balance: &'static str,
    delivery: Vec<&'static str>,
    listeners: Vec<Listener<'a>>,
    ready: String,
    ready_timeout_ms: u64,
    live: Option<String>,
    watchdog_ms: Option<u64>,
    stop_signal: &'static str,
    stop_timeout_ms: u64,
    die_with_primary: bool,
    hang_timeout_ms: Option<u64>,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
    max_rss_bytes: Option<u64>,
    max_age_ms: Option<u64>,
    max_requests: Option<u64>,
    recycle_at: Vec<String>,
    output: &'static str,
    news: &'static str,
    variables: BTreeMap<String, String>,
    control: Option<&'a Path>,
}

#[derive(Serialize)]
struct Listener<'a> {
    name: &'a str,
    address: String,
}

/// The whole of it, on one line.
pub(super) fn json(apps: &[(&Plan, &Path)], origin: Option<&Origin>) -> Result<String, Failure> {
    let apps: Result<Vec<App<'_>>, StartError> = apps.iter().map(|(plan, found)| app(plan, found)).collect();
    let picture = Picture {
        version: 1,
        file: origin.map(|origin| origin.typed.as_path()),
        profile: origin.and_then(|origin| origin.profile.as_deref()),
        name: origin.and_then(|origin| origin.name.as_deref()),
        apps: apps?,
    };
    serde_json::to_string(&picture).map_err(|error| Failure::Output(error.into()))
}

fn app<'a>(plan: &'a Plan, program: &'a Path) -> Result<App<'a>, StartError> {
    let Config { policy, recycling, .. } = &plan.config;
    let Chosen { share, why } = plan.config.chosen_share()?;
    let backoff = policy.backoff();
    Ok(App {
        name: &plan.config.name,
        after: &plan.config.after,
        command: plan.config.program.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        program,
        folder: super::folder(&plan.config.program),
        workers: plan.workers,
        share: share.name(),
        share_why: why,
        balance: plan.config.balance.name(),
        delivery: delivery_list(plan.config.delivery, !plan.config.listen.is_empty()),
        listeners: plan.config.listen.iter().map(listener).collect(),
        ready: ready(&plan.config),
        ready_timeout_ms: ms(policy.ready_timeout()),
        live: plan.config.live.as_ref().map(|live| live.probe.to_string()),
        watchdog_ms: plan.config.watchdog.map(ms),
        stop_signal: plan.config.stop_signal.as_str(),
        stop_timeout_ms: ms(policy.stop_timeout()),
        die_with_primary: plan.config.die_with_primary,
        hang_timeout_ms: plan.config.sees_hangs.then(|| ms(policy.hang_timeout())),
        backoff_min_ms: ms(backoff.first),
        backoff_max_ms: ms(backoff.cap),
        max_rss_bytes: recycling.max_rss_bytes,
        max_age_ms: policy.max_age().map(ms),
        max_requests: recycling.max_requests.map(std::num::NonZero::get),
        recycle_at: recycling.at.iter().map(ToString::to_string).collect(),
        output: output_word(plan.config.output),
        news: news_word(plan.config.news),
        variables: secrets::shown(&plan.config.program.env),
        control: plan.config.control.as_deref(),
    })
}

fn listener(Listen { name, addr, .. }: &Listen) -> Listener<'_> {
    Listener { name, address: addr.to_string() }
}

/// As the option is written.
fn ready(config: &Config) -> String {
    use clustr_supervisor::config::ReadyWhen;
    match &config.ready {
        ReadyWhen::Auto => "auto".to_owned(),
        ReadyWhen::Listen => "listen".to_owned(),
        ReadyWhen::Message => "message".to_owned(),
        ReadyWhen::Notify => "notify".to_owned(),
        ReadyWhen::Delay(delay) => format!("delay:{}", humantime::format_duration(*delay)),
        ReadyWhen::Probe(probe) => probe.to_string(),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
