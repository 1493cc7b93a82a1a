//! What a primary costs at rest, and after much work.
//!
//! Owns the goals: 2.5 MB, no wake-up, at most 200 kB more.

use std::fmt::Write as _;

use clustr_benches::places::Places;
use clustr_benches::primary::Primary;
use clustr_benches::soak::{self, Growth};

use crate::Effort;
use crate::report::goal;

pub(super) fn measure(places: &Places, effort: Effort) -> Result<String, String> {
    let (connections, restarts) = match effort {
        Effort::Quick => (10_000, 1_000),
        Effort::Full => (100_000, 10_000),
    };
    let primary = Primary::start(&places.clustr, &["-n", "2"], &["node", &Places::peer("hello.js")])?;
    primary.wait_ready(2)?;
    primary.settle()?;
    let wake_ups = soak::wake_ups_in_ten_seconds(&primary)?;
    let idle = soak::weigh(&primary)?;
    let served = soak::connections(&primary, connections)?;
    primary.stop()?;
    let restarted = soak::restarts(&places.clustr, &places.trivial, restarts)?;
    let mut text = String::from(
        "## Memory\n\nPSS of the primary, 2 workers of node; restarts of one trivial worker\n\n",
    );
    text.push_str("| when | PSS kB | more kB | descriptors |\n|---|---|---|---|\n");
    let _ = writeln!(text, "| at rest | {} | | {} |", idle.pss_bytes / 1_000, idle.descriptors);
    row(&mut text, &format!("after {connections} connections"), &served);
    row(&mut text, &format!("after {restarts} restarts"), &restarted);
    text.push('\n');
    let pss = idle.pss_bytes;
    text.push_str(&goal("PSS at rest", "below 2500 kB", &format!("{} kB", pss / 1_000), pss < 2_500_000));
    text.push_str(&goal("wake-ups in 10 s", "0", &wake_ups.to_string(), wake_ups == 0));
    let more = served.bytes() + restarted.bytes();
    text.push_str(&goal("growth", "at most 200 kB", &format!("{} kB", more / 1_000), more <= 200_000));
    let even = |growth: &Growth| growth.before.descriptors == growth.after.descriptors;
    text.push_str(&goal("descriptors", "as before", "see above", even(&served) && even(&restarted)));
    Ok(text)
}

fn row(text: &mut String, when: &str, growth: &Growth) {
    let Growth { before, after } = growth;
    let (from, to) = (before.descriptors, after.descriptors);
    let more = growth.bytes() / 1_000;
    let _ = writeln!(text, "| {when} | {} | {more} | {from} → {to} |", after.pss_bytes / 1_000);
}
