//! The text of a file, and the places in it.
//!
//! Owns how much of what kind of file is read, and how a problem is shown with its line. Never understands the text. Called
//! by whatever reads a file of this folder.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::render::secrets;

/// Bound: the largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bound: problems that are shown; more help nobody.
const FAULTS_MAX: usize = 20;

/// How much of a line is shown before the offending text, and of that.
const BEFORE_MAX: usize = 40;
const MARKED_MAX: usize = 60;
const AFTER_MAX: usize = 30;

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it was typed.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// One thing that is wrong in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    /// Where: bytes of the text; none of the whole.
    pub(crate) span: Option<Range<usize>>,
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) instead: Option<String>,
}

impl Fault {
    pub(crate) fn at(span: &Range<usize>, what: impl Into<String>) -> Self {
        Self { span: Some(span.clone()), what: what.into(), instead: None }
    }

    pub(crate) fn of_all(what: impl Into<String>) -> Self {
        Self { span: None, what: what.into(), instead: None }
    }

    pub(crate) fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }
}

impl Source {
    /// Reads a file, which is called in words as it was `typed`.
    ///
    /// # Errors
    /// It cannot be read, is larger than a configuration can be, or is not UTF-8.
    pub(crate) fn read(path: &Path, typed: &Path) -> Result<Self, Failure> {
        let bytes = read_bounded(path).map_err(|error| Failure::ConfigFile {
            what: format!("could not read '{}'", typed.display()),
            detail: Some(error.to_string()),
            hint: (error.kind() == io::ErrorKind::NotFound).then(|| "clustr init".to_owned()),
        })?;
        let path = typed.to_owned();
        match String::from_utf8(bytes) {
            Ok(text) => {
                Ok(Self { path, text: text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned) })
            }
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let fault = Fault::at(&(valid..valid + '\u{fffd}'.len_utf8()), "this is not UTF-8");
                Err(Self { path, text }.refuse(vec![fault]))
            }
        }
    }

    /// All that is wrong with it, in the order of its lines.
    pub(crate) fn refuse(&self, mut faults: Vec<Fault>) -> Failure {
        faults.sort_by_key(|fault| fault.span.as_ref().map_or(usize::MAX, |span| span.start));
        faults.dedup();
        let count = faults.len();
        let name = self.path.display();
        let mut detail: String =
            faults.iter().take(FAULTS_MAX).map(|fault| self.shown(fault)).collect::<Vec<_>>().join("\n");
        if count > FAULTS_MAX {
            let _ = write!(detail, "\nand {} more", count - FAULTS_MAX);
        }
        let problems = if count == 1 { "a problem".to_owned() } else { format!("{count} problems") };
        Failure::ConfigFile { what: format!("'{name}' has {problems}"), detail: Some(detail), hint: None }
    }

    /// A problem with its place, the text there, and what to write instead.
    fn shown(&self, Fault { span, what, instead }: &Fault) -> String {
        let Some(span) = span else {
            let instead = instead.as_ref().map(|instead| format!("\n  = {instead}")).unwrap_or_default();
            return format!("{}: {what}{instead}", self.path.display());
        };
        let Place { line, column, before, marked, after } = self.place(span);
        let margin = " ".repeat(line.to_string().len());
        let mark = "^".repeat(marked.chars().count().max(1));
        let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let instead = instead.as_ref().map(|instead| format!(" {instead}")).unwrap_or_default();
        format!(
            "{}:{line}:{column}: {what}\n  {line} | {before}{marked}{after}\n  {margin} | {pad}{mark}{instead}",
            self.path.display(),
        )
    }

    /// The line of a span, what it marks in it, and as much around that as helps; without secrets.
    fn place(&self, span: &Range<usize>) -> Place {
        let start = self.floor(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let text = self.text[line_start..line_end].trim_end_matches('\r');
        let column = |at: usize| {
            text[..self.floor(at).clamp(line_start, line_start + text.len()) - line_start].chars().count()
        };
        let (begin, end) = (column(start), column(span.end.max(start)));
        let shown = secrets::line(text);
        let part = |from: usize, to: usize| shown.chars().skip(from).take(to.saturating_sub(from)).collect();
        let marked_end = end.min(begin + MARKED_MAX);
        Place {
            line: self.text[..line_start].matches('\n').count() + 1,
            column: begin + 1,
            before: part(begin.saturating_sub(BEFORE_MAX), begin),
            marked: part(begin, marked_end),
            after: part(marked_end, end.min(marked_end) + AFTER_MAX),
        }
    }

    /// The beginning of the character that this byte is a part of.
    fn floor(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

struct Place {
    line: usize,
    column: usize,
    before: String,
    marked: String,
    after: String,
}

/// A device that never ends is no configuration, and neither is a pipe that nobody writes to: it would be waited for.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{Report, Saying};

    fn shown(text: &str, span: Range<usize>) -> String {
        let source = Source { path: "f".into(), text: text.to_owned() };
        let failure = source.refuse(vec![Fault::at(&span, "odd").instead("even")]);
        let Saying::Error(Report { detail, .. }) = failure.saying() else { panic!() };
        detail.unwrap()
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_column() {
        assert_eq!(shown("a = 1\nbc = 2\n", 6..8), "f:2:1: odd\n  2 | bc = 2\n    | ^^ even");
        assert_eq!(shown("\u{e4} = 1\r\n", 5..6), "f:1:5: odd\n  1 | \u{e4} = 1\n    |     ^ even");
    }

    #[test]
    fn any_span_in_any_text_can_be_shown() {
        let text = "\u{e4}\u{1f600}\n\r\n\tx\u{301}y";
        for start in 0..text.len() + 3 {
            for end in start..text.len() + 3 {
                assert!(shown(text, start..end).contains(": odd"), "{start}..{end}");
            }
        }
        assert!(shown("", 0..0).starts_with("f:1:1"));
    }

    #[test]
    fn a_very_long_line_is_shown_in_part() {
        let text = format!("a = \"{}\"", "x".repeat(10_000));
        assert!(shown(&text, 4..10_006).lines().all(|line| line.len() < 160));
    }
}
