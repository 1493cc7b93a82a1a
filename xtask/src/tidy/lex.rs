//! Rust with its comments and literals blanked, so that what looks like code is code.
//!
//! Owns just enough of the language's grammar for that. Keeps every line where it is. Never parses further: code is
//! formatted by rustfmt before anybody looks at it.

/// The source with each character of a comment, a string or a character literal replaced by a space.
pub(super) fn mask(source: &str) -> String {
    let mut masked = String::with_capacity(source.len());
    let mut rest = source;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let opaque = opaque(rest, previous);
        if opaque == 0 {
            masked.push(first);
        } else {
            masked.extend(rest[..opaque].chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        }
        let taken = opaque.max(first.len_utf8());
        previous = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    masked
}

/// How many bytes of a comment or a literal begin here.
fn opaque(rest: &str, previous: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return string(rest);
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if is_word(previous) { 0 } else { prefixed(rest) }
}

/// Comments within comments are counted.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// From its opening quote to its closing one; a backslash takes the next byte along.
fn string(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut letters = rest[1..].chars();
    match letters.next() {
        Some('\\') => {
            // The letter after the backslash may itself be a quote.
            let escaped = 2 + letters.next().map_or(0, char::len_utf8);
            rest[escaped..].find('\'').map_or(rest.len(), |end| escaped + end + 1)
        }
        Some(letter) if letters.next() == Some('\'') => 1 + letter.len_utf8() + 1,
        _ => 0,
    }
}

/// Raw, byte and C literals.
fn prefixed(rest: &str) -> usize {
    for prefix in ["r", "br", "cr"] {
        if let Some(after) = rest.strip_prefix(prefix) {
            let hashes = after.len() - after.trim_start_matches('#').len();
            if after[hashes..].starts_with('"') {
                return prefix.len() + raw_string(after, hashes);
            }
        }
    }
    for prefix in ["b", "c"] {
        match rest.strip_prefix(prefix) {
            Some(after) if after.starts_with('"') => return 1 + string(after),
            Some(after) if after.starts_with('\'') && character(after) > 0 => return 1 + character(after),
            _ => {}
        }
    }
    0
}

fn raw_string(after: &str, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    let body = hashes + 1;
    after[body..].find(&end).map_or(after.len(), |at| body + at + end.len())
}

/// Whether this letter can be part of a name.
pub(super) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `word` stands in `text`, not as a part of a longer one.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    count_word(text, word) > 0
}

/// How often `word` stands in `text`, not as a part of a longer one.
pub(super) fn count_word(text: &str, word: &str) -> usize {
    let whole = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    };
    text.match_indices(word).filter(|(at, _)| whole(*at)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(mask(source).trim_end(), expected);
    }

    #[test]
    fn comments_are_blanked() {
        check("a // unsafe {", "a");
        check("a /* b /* c */ d */ e", "a                   e");
        check("/* open", "");
    }

    #[test]
    fn strings_are_blanked_with_their_escapes() {
        check(r#"a("x \" { y") + b"#, "a(          ) + b");
        check(r##"a(r#"x " {"#) b"##, "a(          ) b");
        check("a(b\"{\") c", "a(    ) c");
        check("a(cr\"\\\") c", "a(     ) c");
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_are_not() {
        check("a('{', '\\'', '\\u{7b}', b'}')", "a(   ,     ,         ,     )");
        check("fn a<'a>(b: &'a str)", "fn a<'a>(b: &'a str)");
    }

    #[test]
    fn names_that_end_like_a_prefix_are_names() {
        check("for r in b {}", "for r in b {}");
        check("let r#type = 1;", "let r#type = 1;");
    }

    #[test]
    fn lines_stay_where_they_are() {
        assert_eq!(mask("a\n\"b\nc\"\nd").lines().count(), 4);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(count_word("unsafe_code unsafe (unsafe)", "unsafe"), 2);
        assert!(!has_word("isMaster", "master") && has_word("the master.", "master"));
    }
}
