//! `clustr events`: what happens, line by line, until the primary ends.
//!
//! Owns the line for people: the time of day, then the news as the primary itself words it.

use clustr_supervisor::control::protocol::Delivery;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::args::ReadArgs;
use crate::client::ClientError;
use crate::clock::Deadline;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;
use crate::target;

pub(super) fn run(args: &ReadArgs) -> Result<u8, Failure> {
    let mut client = target::connect(&args.place)?;
    client.subscribe()?;
    while let Some(line) = client.line(Deadline::after(None))? {
        let garbled = |error: serde_json::Error| ClientError::Garbled(error.to_string());
        let Line { news } = serde_json::from_str(&line).map_err(garbled)?;
        if args.json {
            render::json(news.get())?;
        } else {
            render::output(&as_text(&line).unwrap_or_else(|| news.to_string()))?;
        }
    }
    Ok(exit_code::DONE)
}

/// A line whose news stays as the primary wrote it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    news: &'a RawValue,
}

/// `None` for news that this clustr has no words for: a newer primary's.
fn as_text(line: &str) -> Option<String> {
    let Delivery { news, missed, .. } = &serde_json::from_str(line).ok()?;
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(news.at_unix_ms);
    let mut lines = Vec::new();
    if *missed > 0 {
        lines.push(format!("(missed {missed}: this terminal was too slow)"));
    }
    lines.push(format!("{} {} {news}", humantime::format_rfc3339_millis(at), news.app));
    lines.extend(news.fact.hint().map(|hint| format!("hint: {hint}")));
    Some(lines.join("\n"))
}
