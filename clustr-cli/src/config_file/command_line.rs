//! A command that is written as one string.
//!
//! Owns where its words end: at blanks, unless they are quoted, as in a shell. Never expands anything: what would need a
//! shell is refused, not passed on as if it meant itself. Called by `layer` and by those who read files of others.

/// What only a shell understands, where it is not quoted.
const OF_SHELLS: [char; 10] = ['|', '&', ';', '<', '>', '$', '`', '(', ')', '*'];

/// Why a line has no words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LineError {
    /// This needs a shell.
    OfShell(char),
    /// A quote is never closed.
    Unclosed,
    /// Nothing stands after the last backslash.
    Dangling,
}

impl LineError {
    /// In words.
    pub(crate) fn text(self) -> String {
        match self {
            Self::OfShell(c) => format!("no shell runs the command, and '{c}' needs one"),
            Self::Unclosed => "a quote is never closed".to_owned(),
            Self::Dangling => "nothing stands after the backslash".to_owned(),
        }
    }

    /// What to write instead of the line, where that is known.
    pub(crate) fn instead(self, line: &str) -> Option<String> {
        let quoted = if line.contains('\'') { format!("{line:?}") } else { format!("'{line}'") };
        matches!(self, Self::OfShell(_)).then(|| format!("[\"sh\", \"-c\", {quoted}]"))
    }
}

/// The words.
///
/// # Errors
/// Why there are none.
pub(crate) fn split(line: &str) -> Result<Vec<String>, LineError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => quoted(c, &mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(LineError::Dangling),
            },
            c if OF_SHELLS.contains(&c) || (c == '~' && word.is_none()) => return Err(LineError::OfShell(c)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// In double quotes a backslash takes its meaning from a quote and from itself, as in a shell.
fn quoted(quote: char, chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), LineError> {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '$' | '`' if quote == '"' => return Err(LineError::OfShell(c)),
            '\\' if quote == '"' => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(LineError::Unclosed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_where_a_shell_would_end_them() {
        for (line, words) in [
            ("node app.js", &["node", "app.js"] as &[&str]),
            ("  a\t b\n", &["a", "b"]),
            ("a 'b c' d", &["a", "b c", "d"]),
            (r#"a "b \" \\ \n" c\ d"#, &["a", r#"b " \ \n"#, "c d"]),
            ("a '' \"\"", &["a", "", ""]),
            ("--x='1'2", &["--x=12"]),
            ("run {slot} {port} a~b 'it$'", &["run", "{slot}", "{port}", "a~b", "it$"]),
            ("", &[]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        for line in
            ["a | b", "a && b", "a > f", "a $HOME", "a \"$HOME\"", "a *.js", "~/a", "a; b", "a `b`", "a $(b)"]
        {
            assert!(matches!(split(line), Err(LineError::OfShell(_))), "{line}");
        }
        for line in ["a 'b", "a \"b", "a \\", "a \"\\"] {
            assert!(matches!(split(line), Err(LineError::Unclosed | LineError::Dangling)), "{line}");
        }
    }
}
