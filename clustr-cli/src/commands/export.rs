//! `clustr export`: what starts the primary elsewhere: a unit of systemd, manifests for Kubernetes, a file for compose, a Dockerfile.
//!
//! Owns what all of them have to know: which words start the primary, how long it may take to be ready and to stop, which ports it
//! has. The plan is the one that `run` makes. Never installs anything: it prints.

mod container;
mod kubernetes;
mod systemd;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clustr_supervisor::config::{Addr, Probe, ReadyWhen};

use super::plan::{self, Origin, Plan};
use crate::args::values::Workers;
use crate::args::{ExportArgs, ExportTarget};
use crate::config_file::Wanted;
use crate::exit_code;
use crate::failure::{Failure, Usage};
use crate::render;

/// What every form of it says.
#[derive(Debug)]
struct Service {
    /// The primary's.
    name: String,
    /// The words after `clustr run` that mean the same as those that were typed, but for the file.
    words: Vec<String>,
    /// The file, by its absolute path.
    file: Option<PathBuf>,
    profile: Option<String>,
    /// The folder in which all of it is meant.
    folder: PathBuf,
    /// The program of the first app, for a guess at an image.
    program: String,
    /// How long all apps together may take, in seconds.
    ready_secs: u64,
    stop_secs: u64,
    /// TCP ports that clients come to: those that clustr was told.
    ports: Vec<u16>,
    /// Where its control socket was wished to be.
    control: Option<String>,
    /// What is asked over HTTP to know whether a worker serves.
    http: Option<String>,
    /// Where every app says how many, all of them.
    workers: Option<u32>,
    /// What all workers together may hold, where that is limited.
    memory_bytes: Option<u64>,
}

pub(super) fn run(args: ExportArgs) -> Result<u8, Failure> {
    let ExportArgs { target, options, from, command } = args;
    let words = own_words(target)?;
    let folder = std::env::current_dir().unwrap_or_default();
    let profile = from.profile.clone();
    let is_said = matches!(options.workers, Some(Workers::Count(_)));
    let (plans, origin) = plan::gather(from, options, command, Vec::new())?;
    let fixed = is_said || origin.as_ref().is_some_and(says_workers);
    let name = plan::primary_name(&plans, origin.as_ref());
    let file = origin.as_ref().map(|origin| folder.join(&origin.typed));
    let service = Service { name, words, file, profile, folder, ..facts(&plans, fixed) };
    render::output(&match target {
        ExportTarget::Systemd => systemd::unit(&service, &own_program()),
        ExportTarget::Kubernetes => kubernetes::manifests(&service),
        ExportTarget::Compose => container::compose(&service),
        ExportTarget::Dockerfile => container::dockerfile(&service),
    })?;
    Ok(exit_code::DONE)
}

/// Whether the file says for each app how many workers it has.
fn says_workers(origin: &Origin) -> bool {
    let wanted = Wanted::read(&origin.file, &origin.typed, origin.profile.as_deref());
    let says = |word: &OsString| {
        let count = word.to_str().and_then(|word| word.strip_prefix("--workers="));
        count.is_some_and(|count| count != "auto")
    };
    wanted.is_ok_and(|wanted| wanted.apps.iter().all(|app| app.words.iter().any(says)))
}

fn own_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/local/bin/clustr"))
}

/// What was typed behind the target, without the file: it is named anew, from another folder.
fn own_words(target: ExportTarget) -> Result<Vec<String>, Failure> {
    let mut own = std::env::args_os().skip(2);
    if own.next().is_none_or(|word| word != target.word()) {
        return Err(Failure::Usage(Usage {
            what: "what is to be exported stands before all options".to_owned(),
            detail: None,
            hint: Some(format!("clustr export {} [RUN OPTIONS] -- COMMAND", target.word())),
        }));
    }
    let words: Option<Vec<String>> = own.map(|word: OsString| word.into_string().ok()).collect();
    let words = words.ok_or_else(|| {
        Failure::Usage(Usage {
            what: "a word of the command line is not UTF-8, and could not be written down".to_owned(),
            detail: None,
            hint: None,
        })
    })?;
    Ok(without_file(words))
}

fn without_file(words: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word);
            break;
        }
        if matches!(&*word, "-f" | "--file" | "--profile") {
            words.next();
        } else if !["-f", "--file=", "--profile="].iter().any(|option| word.starts_with(option)) {
            kept.push(word);
        }
    }
    kept.extend(words);
    kept
}

/// What the plans say; the rest is filled in by whoever calls.
fn facts(plans: &[Plan], fixed: bool) -> Service {
    let sum = |of: fn(&Plan) -> u64| plans.iter().map(of).sum();
    let memory = |plan: &Plan| Some(plan.config.recycling.max_rss_bytes? * u64::from(plan.workers));
    let first = plans.first();
    let program = first.and_then(|plan| plan.config.program.command.first()).cloned().unwrap_or_default();
    let base = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Service {
        name: String::new(),
        words: Vec::new(),
        file: None,
        profile: None,
        folder: PathBuf::new(),
        program: base,
        ready_secs: sum(|plan| whole_secs(plan.config.policy.ready_timeout())),
        stop_secs: sum(|plan| whole_secs(plan.config.policy.stop_timeout())),
        ports: plans.iter().flat_map(ports).collect(),
        control: first.and_then(|plan| Some(plan.control_asked.as_ref()?.display().to_string())),
        http: first.and_then(http),
        workers: fixed.then(|| plans.iter().map(|plan| plan.workers).sum()),
        memory_bytes: plans.iter().map(memory).sum(),
    }
}

fn whole_secs(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn ports(plan: &Plan) -> Vec<u16> {
    let of = |addr: &Addr| match addr {
        Addr::Tcp { port, .. } => Some(*port),
        Addr::Udp { .. } | Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => None,
    };
    let listened = plan.config.listen.iter().filter_map(|listen| of(&listen.addr));
    let mut ports: Vec<u16> = listened.chain(plan.config.ports.shared.iter().copied()).collect();
    ports.retain(|port| *port != 0);
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The path of its probe.
fn http(plan: &Plan) -> Option<String> {
    let live = plan.config.live.as_ref().map(|live| &live.probe);
    let ready = match &plan.config.ready {
        ReadyWhen::Probe(probe) => Some(probe),
        ReadyWhen::Auto
        | ReadyWhen::Listen
        | ReadyWhen::Message
        | ReadyWhen::Notify
        | ReadyWhen::Delay(_) => None,
    };
    ready.into_iter().chain(live).find_map(|probe| match probe {
        Probe::Http(path) => Some(path.to_string()),
        Probe::Tcp(_) | Probe::Exec(_) => None,
    })
}

impl Service {
    /// The words that start the primary in an image, where the folder has been copied to the working directory.
    fn in_image(&self) -> Vec<String> {
        let name = self.file.as_ref().and_then(|file| file.file_name());
        self.started_with(name.map(|name| name.to_string_lossy().into_owned()))
    }

    /// The words that start it from this machine's folder.
    fn in_place(&self) -> Vec<String> {
        self.started_with(self.file.as_ref().map(|file| file.display().to_string()))
    }

    /// The words that ask the primary how it is, where no other runs.
    fn asked(&self, words: &[&str]) -> Vec<String> {
        let words = ["clustr", "status"].iter().chain(words).map(|word| (*word).to_owned());
        words.chain(self.control.iter().flat_map(|path| ["--control".to_owned(), path.clone()])).collect()
    }

    fn started_with(&self, file: Option<String>) -> Vec<String> {
        let option = |name: &str, value: Option<String>| {
            value.into_iter().flat_map(|value| [name.to_owned(), value]).collect::<Vec<_>>()
        };
        let mut words = vec!["run".to_owned()];
        words.extend(option("--file", file));
        words.extend(option("--profile", self.profile.clone()));
        words.extend(self.words.iter().cloned());
        words
    }
}

/// A string of JSON, which is one of YAML too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An array of them, on one line.
fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

/// A name as DNS has them: RFC 1123.
fn label(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let label: String = letters.take(63).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "app".to_owned() } else { label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_file_is_named_once_and_a_commands_own_options_stay() {
        assert_eq!(without_file(words("-f a.toml -n 4 --profile=x")), ["-n", "4"]);
        assert_eq!(without_file(words("--file a.toml --profile x")), [""; 0]);
        assert_eq!(without_file(words("-n 4 -- node -f x")), ["-n", "4", "--", "node", "-f", "x"]);
    }

    #[test]
    fn a_name_becomes_one_that_dns_has() {
        assert_eq!(label("Shop_v1.2"), "shop-v1-2");
        assert_eq!(label("-_-"), "app");
        assert_eq!(label(&"a".repeat(80)).len(), 63);
    }
}
