//! Words of others, made harmless for a terminal.
//!
//! Owns what of them is dropped and what is shown in its place: whatever a worker, a file or a command line holds, it neither
//! moves the cursor nor paints, renames or answers anything. Never touches JSON. Called where text is drawn.

use std::borrow::Cow;

/// One line: what would end it is shown as `\n`.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    clean(text.strip_suffix('\r').unwrap_or(text), |c| c == '\t')
}

/// One cell of a table, which has no room for tabs either.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    clean(text, |_| false)
}

/// Several lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    clean(text, |c| matches!(c, '\n' | '\t'))
}

fn clean(text: &str, may_stay: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_harmless = |c: char| !is_control(c) || may_stay(c);
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match colour(rest) {
            Some(length) => rest = &rest[length..],
            None => {
                if is_harmless(c) {
                    shown.push(c);
                } else {
                    escape(c, &mut shown);
                }
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Cow::Owned(shown)
}

/// C0, DEL and C1; and the marks of Unicode that turn the direction of what follows.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(c: char, shown: &mut String) {
    match u8::try_from(c).ok().filter(u8::is_ascii) {
        Some(byte) if !matches!(c, '\n' | '\r' | '\t') => shown.push_str(&format!("\\x{byte:02x}")),
        Some(_) | None => shown.extend(c.escape_default()),
    }
}

/// The length of a sequence that does nothing but colour (SGR), which many programs print: dropped, it is no loss.
fn colour(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    rest[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_speaks_to_a_terminal_is_shown_instead() {
        assert_eq!(line("\x1b]0;owned\x07"), r"\x1b]0;owned\x07");
        assert_eq!(line("50%\r100%"), r"50%\r100%");
        assert_eq!(line("\x1b[2J\u{9b}1A\x7f\0"), r"\x1b[2J\u{9b}1A\x7f\x00");
        assert_eq!(line("gnp.\u{202e}exe"), r"gnp.\u{202e}exe");
        assert_eq!(line("two\nlines"), r"two\nlines");
    }

    #[test]
    fn colours_are_dropped_and_words_stay_as_they_are() {
        assert_eq!(line("\x1b[1;32mready\x1b[0m \x1b[m\u{e9}\t\u{1f600}\r"), "ready \u{e9}\t\u{1f600}");
        assert!(matches!(line("plain"), Cow::Borrowed("plain")));
        assert_eq!(line("\x1b["), r"\x1b[");
    }

    #[test]
    fn a_cell_is_one_line_and_a_text_keeps_its_lines() {
        assert_eq!(cell("a\tb\nc"), r"a\tb\nc");
        assert_eq!(lines("a\tb\nc\x08"), "a\tb\nc\\x08");
    }
}
