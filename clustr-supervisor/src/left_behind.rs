//! What was left of a primary that was killed: told of, and ended before the next one of its name binds.
//!
//! Owns what is said about it, and that a word to stop is heard meanwhile. Never finds or signals anybody: `process` does.
//! Called while a supervisor is made.

use crate::clock;
use crate::config::Config;
use crate::logs::Logs;
use crate::news::{Fact, News};
use crate::process::Orphans;
use crate::signals::Signals;

/// Ends it, with the claim to the control socket in hand: nobody else will. Says how many processes there were; `None`:
/// somebody wants no primary any more, and they have been killed.
pub(crate) fn end(
    apps: &[Config],
    primary: &str,
    signals: Option<&Signals>,
    logs: &mut Logs,
) -> Option<usize> {
    let first = apps.first()?;
    let Some(orphans) = first.control.as_deref().and_then(Orphans::of) else { return Some(0) };
    let count = orphans.count();
    let mut tell = |fact| logs.news(&News { at_unix_ms: clock::unix_ms(), app: primary.to_owned(), fact });
    let patience = apps.iter().map(|app| app.policy.stop_timeout()).max().unwrap_or_default();
    let detail = format!("ending what a killed primary left: {}", processes(count));
    tell(Fact::Warning { detail, hint: None });
    if orphans.end(first.stop_signal, patience, signals) {
        tell(Fact::Ended { verdict: "stopped".into() });
        return None;
    }
    Some(count)
}

/// What is told of it once there is somebody to be told.
pub(crate) fn fact(count: usize) -> Option<Fact> {
    let detail =
        format!("a primary of this name was killed; what it left has been ended: {}", processes(count));
    (count > 0).then_some(Fact::Warning { detail, hint: None })
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".into() } else { format!("{count} processes") }
}
