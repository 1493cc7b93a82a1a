//! Lines for people and for programs.
//!
//! Owns the prefix `app.0 |`, its colours, and the JSON form. Never writes anything.

use serde::Serialize;

use crate::config::{NewsFormat, Output};
use crate::news::News;

/// Whose output it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(crate) slot: u32,
    pub(crate) incarnation: u64,
    pub(crate) stream: Stream,
}

/// Which of its outputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How everything is written.
#[derive(Debug)]
pub(crate) struct Format {
    app: String,
    /// Who tells news.
    teller: String,
    output: Output,
    news: NewsFormat,
    colour: bool,
}

/// The colours of slots, in turn: ANSI, none of them the one that means an error.
const COLOURS: [&str; 6] = ["\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[34m", "\x1b[96m"];
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

#[derive(Serialize)]
struct JsonLine<'a> {
    app: &'a str,
    slot: u32,
    incarnation: u64,
    stream: Stream,
    line: &'a str,
}

impl Format {
    pub(crate) fn new(app: &str, output: Output, news: NewsFormat, colour: bool) -> Self {
        Self { app: app.to_owned(), teller: "clustr".into(), output, news, colour }
    }

    /// The same for one of several apps, whose news begins with its name.
    pub(crate) fn naming_the_app(self) -> Self {
        Self { teller: self.app.clone(), ..self }
    }

    /// Appends one line of a worker.
    pub(crate) fn line(&self, into: &mut Vec<u8>, origin: Origin, line: &[u8]) {
        match self.output {
            Output::Prefix => self.prefixed(into, origin, line),
            Output::Json => self.json(into, origin, line),
            Output::Inherit | Output::None => {}
        }
    }

    fn prefixed(&self, into: &mut Vec<u8>, origin: Origin, line: &[u8]) {
        let prefix = format!("{}.{} |", self.app, origin.slot);
        self.paint(into, COLOURS[origin.slot as usize % COLOURS.len()], &prefix);
        into.push(b' ');
        into.extend_from_slice(line);
        into.push(b'\n');
    }

    fn json(&self, into: &mut Vec<u8>, origin: Origin, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let Origin { slot, incarnation, stream } = origin;
        let value = JsonLine { app: &self.app, slot, incarnation, stream, line: &text };
        append_json(into, &value);
    }

    /// A piece of news, as one or more lines.
    pub(crate) fn news(&self, news: &News) -> Vec<u8> {
        let mut into = Vec::new();
        match self.news {
            NewsFormat::Json => append_json(&mut into, news),
            NewsFormat::Text => self.news_text(&mut into, news),
            NewsFormat::None => {}
        }
        into
    }

    fn news_text(&self, into: &mut Vec<u8>, news: &News) {
        self.say(into, &news.to_string());
        for line in news.fact.last_words() {
            self.say(into, &format!("  {line}"));
        }
        if let Some(hint) = news.fact.hint() {
            self.say(into, &format!("hint: {hint}"));
        }
    }

    fn say(&self, into: &mut Vec<u8>, text: &str) {
        self.paint(into, DIM, &format!("{} |", self.teller));
        into.push(b' ');
        into.extend_from_slice(text.as_bytes());
        into.push(b'\n');
    }

    fn paint(&self, into: &mut Vec<u8>, colour: &str, text: &str) {
        if self.colour {
            into.extend_from_slice(colour.as_bytes());
        }
        into.extend_from_slice(text.as_bytes());
        if self.colour {
            into.extend_from_slice(PLAIN.as_bytes());
        }
    }
}

fn append_json(into: &mut Vec<u8>, value: &impl Serialize) {
    // Writing plain values into memory has nothing to fail of.
    if serde_json::to_writer(&mut *into, value).is_ok() {
        into.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::news::Fact;

    const ORIGIN: Origin = Origin { slot: 1, incarnation: 3, stream: Stream::Stderr };

    fn written(output: Output, colour: bool, line: &[u8]) -> String {
        let mut into = Vec::new();
        Format::new("app", output, NewsFormat::Text, colour).line(&mut into, ORIGIN, line);
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn a_line_says_whose_it_is() {
        assert_eq!(written(Output::Prefix, false, b"hello"), "app.1 | hello\n");
        assert_eq!(written(Output::Prefix, true, b"hello"), "\x1b[32mapp.1 |\x1b[0m hello\n");
        assert_eq!(written(Output::None, true, b"hello"), "");
    }

    #[test]
    fn a_line_that_is_no_text_is_still_json() {
        assert_eq!(
            written(Output::Json, true, b"caf\xe9"),
            "{\"app\":\"app\",\"slot\":1,\"incarnation\":3,\"stream\":\"stderr\",\"line\":\"caf\u{fffd}\"}\n"
        );
    }

    #[test]
    fn a_slot_that_gave_up_shows_its_last_words() {
        let fact =
            Fact::GaveUp { slot: 0, recent: 6, period_ms: 10_000, last_output: vec!["Error: no".into()] };
        let news = News { at_unix_ms: 0, app: "app".into(), fact };
        let text = Format::new("app", Output::Prefix, NewsFormat::Text, false).news(&news);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "clustr | slot gave up slot=0: restart 6 in 10.0s is one too many\nclustr |   Error: no\n"
        );
    }
}
