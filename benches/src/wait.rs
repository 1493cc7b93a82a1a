//! Waiting for facts, with a deadline.
//!
//! Owns the only pause: between two looks at something that cannot announce itself (`/proc`, a port). Called by
//! everything that waits.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Looks again and again until there is something to see.
///
/// # Errors
///
/// There is nothing after `within`; the text says what was waited for.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {within:?} in vain for: {what}"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`until`], for a condition.
///
/// # Errors
///
/// It does not hold after `within`.
pub fn until_true(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Result<(), String> {
    until(what, within, || holds().then_some(()))
}

/// Lets time pass that is itself what is measured: "nothing happens in ten seconds".
pub fn observe_for(span: Duration) {
    std::thread::sleep(span);
}
