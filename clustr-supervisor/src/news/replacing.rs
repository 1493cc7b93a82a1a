//! News of workers that are replaced, as a line for people.
//!
//! Owns the texts. Never decides anything. Called by [`Fact`]'s `Display`.

use std::fmt::{Formatter, Result};

use super::{Fact, span};

/// Writes the line of one of these facts, and nothing for any other.
#[expect(clippy::wildcard_enum_match_arm, reason = "`Fact` passes those that are about replacing")]
pub(super) fn write(fact: &Fact, f: &mut Formatter<'_>) -> Result {
    match fact {
        Fact::Reloading { from, to, slots } if from == to => {
            write!(f, "restarting slots={slots} generation={to}")
        }
        Fact::Reloading { from, to, slots } => write!(f, "reloading slots={slots} from={from} to={to}"),
        Fact::Remembered { instead } => {
            f.write_str("reload remembered, it follows the one that is under way")?;
            if *instead { f.write_str(", instead of the one remembered before") } else { Ok(()) }
        }
        Fact::Settling { to, ready, slots, settle_ms } => {
            let settle = span(*settle_ms);
            write!(
                f,
                "new workers ready, watching them ready={ready}/{slots} generation={to} settle={settle}"
            )
        }
        Fact::Parked { slot, incarnation } => {
            write!(f, "worker stands by slot={slot} incarnation={incarnation}")
        }
        Fact::Readmitted { slot, incarnation } => {
            write!(f, "worker serves again slot={slot} incarnation={incarnation}")
        }
        Fact::Reloaded { from, to, took_ms } if from == to => {
            write!(f, "restarted generation={to} took={}", span(*took_ms))
        }
        Fact::Reloaded { from, to, took_ms } => {
            write!(f, "reloaded from={from} to={to} took={}", span(*took_ms))
        }
        Fact::RolledBack { .. } => rolled_back(fact, f),
        Fact::ReloadCancelled { to } => write!(f, "reload cancelled, the app is stopping to={to}"),
        Fact::Stranded { slot } => {
            write!(f, "slot left empty slot={slot}: what it held before cannot be started again")
        }
        Fact::Failing { slot, incarnation, ailment, why } => {
            write!(f, "worker failing slot={slot} incarnation={incarnation} by={ailment}: {why}")
        }
        Fact::Recovered { slot, incarnation, ailment } => {
            write!(f, "worker serves as it should again slot={slot} incarnation={incarnation} by={ailment}")
        }
        Fact::Renewing { slot, incarnation, by, why } => {
            write!(f, "worker gets a replacement slot={slot} incarnation={incarnation} by={by} why={why}")
        }
        Fact::Renewed { slot, incarnation, by, ready } => {
            write!(f, "worker replaced slot={slot} incarnation={incarnation} by={by}")?;
            if *ready { Ok(()) } else { f.write_str(" (its replacement is not ready yet)") }
        }
        Fact::NotRenewed { slot, incarnation, setback, .. } => {
            write!(f, "worker stays slot={slot} incarnation={incarnation}: its replacement {setback}")
        }
        _ => Ok(()),
    }
}

fn rolled_back(fact: &Fact, f: &mut Formatter<'_>) -> Result {
    let Fact::RolledBack { tried, serves, slot, incarnation, why, put_back, lost, changed, .. } = fact else {
        return Ok(());
    };
    if tried == serves && *lost == 0 {
        return write!(f, "restart failed generation={tried}: worker {slot}#{incarnation} {why}");
    }
    write!(f, "rolled back tried={tried} serves={serves}: worker {slot}#{incarnation} {why}")?;
    if *put_back > 0 {
        write!(f, "; starting generation {serves} again in {put_back} slots")?;
    }
    let because = changed.as_ref().map(|path| format!(": {path} has changed since it began"));
    let because = because.unwrap_or_default();
    if *lost > 0 && tried == serves {
        write!(f, "; it serves in {lost} slots all the same, what was there before cannot be started again")?;
        f.write_str(&because)?;
    } else if *lost > 0 {
        write!(f, "; {lost} slots stay empty, what was there before cannot be started again{because}")?;
    }
    Ok(())
}
