//! What a command came to, in the words of the control protocol.
//!
//! Owns the names of refusals and what is said with a failed reload. Never sends anything: `control` and the desk of
//! handles do.

use clustr_core::{Answer, Refusal};

use super::protocol::{Progress, Reply, RolledBack};
use crate::news::Fact;

/// Why a reload failed, for whoever asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Setback {
    detail: String,
    hint: Option<String>,
}

impl Setback {
    /// The line of the news, and the failing worker's last output.
    pub(crate) fn of(fact: &Fact) -> Option<Self> {
        let lines = fact.last_words().iter().map(|line| format!("\n  {line}"));
        let detail = std::iter::once(fact.to_string()).chain(lines).collect();
        Some(Self { detail, hint: fact.hint().map(str::to_owned) })
    }
}

/// The same for `status`, where the news is that a reload failed.
pub(crate) fn rolled_back(fact: &Fact) -> Option<RolledBack> {
    let Fact::RolledBack { tried, serves, slot, incarnation, why, lost, changed, last_output, hint, .. } =
        fact
    else {
        return None;
    };
    Some(RolledBack {
        tried: *tried,
        serves: *serves,
        slot: *slot,
        incarnation: *incarnation,
        why: why.clone(),
        lost: *lost,
        changed: changed.clone(),
        last_output: last_output.clone(),
        hint: hint.clone(),
        ago_ms: 0,
    })
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    /// Why the reload that it was failed.
    pub(crate) setback: Option<Setback>,
    /// In which app it failed, where it was meant for all.
    pub(crate) whose: Option<Whose>,
}

/// Where a wish for all apps has ended.
#[derive(Debug)]
pub(crate) struct Whose {
    pub(crate) app: String,
    /// The apps that were not asked any more.
    pub(crate) spared: Vec<String>,
}

impl Outcome {
    /// It as a reply to the request that it was.
    pub(crate) fn reply(&self, id: u64) -> Reply {
        let reply = reply_for(id, self.answer, self.setback.as_ref());
        let Some(Whose { app, spared }) = &self.whose else { return reply };
        let detail = reply.detail.as_deref().unwrap_or_default();
        let spared = match &spared[..] {
            [] => String::new(),
            spared => format!("\nleft as they are: {}", spared.join(", ")),
        };
        Reply { detail: Some(format!("app={app}: {detail}{spared}")), ..reply }
    }
}

fn reply_for(id: u64, answer: Answer, setback: Option<&Setback>) -> Reply {
    let told = |name: &str, detail: &str, hint: Option<&str>| match setback {
        Some(Setback { detail, hint }) => Reply::refused(id, name, detail.clone(), hint.as_deref()),
        None => Reply::refused(id, name, detail.to_owned(), hint),
    };
    match answer {
        Answer::Accepted => Reply::granted(id, Progress::Accepted),
        Answer::Done => Reply::granted(id, Progress::Done),
        Answer::Refused(refusal) => {
            let hint = match refusal {
                Refusal::NoWorkers => Some("clustr stop"),
                Refusal::NoSuchSlot | Refusal::ReloadInProgress => Some("clustr status"),
                Refusal::Stopping | Refusal::TooManyWorkers => None,
            };
            Reply::refused(id, refusal.name(), refusal.to_string(), hint)
        }
        Answer::Superseded => told("superseded", "a later command replaced it before it was done", None),
        Answer::RolledBack => {
            told("rolled-back", "the new version failed, and the old one serves", Some("clustr status"))
        }
        Answer::GaveUp { slot, others } => {
            let others = if others == 0 { String::new() } else { format!(", and {others} more") };
            let detail = format!("slot={slot}, which was wanted anew, gave up{others}");
            Reply::refused(id, "failed", detail, Some("clustr status"))
        }
        Answer::Failed => told("failed", "the workers that it waited for gave up", Some("clustr status")),
    }
}
