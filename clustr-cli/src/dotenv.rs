//! Files of environment variables: the rules that dotenv files have everywhere.
//!
//! Owns the syntax. Never touches the process's own environment, and never expands `$NAME`: what stands there is
//! what the worker gets. Called by `run` and `check`.
//!
//! ```text
//! # a comment
//! NAME=value            spaces around the value do not count; ` #` begins a comment
//! export NAME=value     `export` may stand there, so that a shell can read the file too
//! NAME="a\nb"           double quotes: \n \r \t \\ \" are what they are in C; may span lines
//! NAME='a\nb'           single quotes: nothing is special; may span lines
//! NAME=                 the empty value
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clustr_supervisor::config::is_variable_name;

/// A file that could not be used.
#[derive(Debug)]
pub(crate) enum EnvFileError {
    /// It could not be read.
    Unreadable(PathBuf, std::io::Error),
    /// A line of it makes no sense.
    Syntax(PathBuf, usize, Fault),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// No `=`.
    NoEquals,
    /// The part before `=` is no variable's name.
    Name,
    /// A quote that is never closed.
    Unclosed,
    /// Something after the closing quote.
    Trailing,
    /// A zero byte, which no variable can hold.
    Zero,
}

impl Fault {
    /// In words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::NoEquals => "there is no '='",
            Self::Name => "a name is letters, digits, '_', '.' and '-', and does not begin with a digit",
            Self::Unclosed => "the quote is never closed",
            Self::Trailing => "something stands after the closing quote",
            Self::Zero => "a variable cannot hold a zero byte",
        }
    }
}

/// Bound: the largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file of variables, in its order.
///
/// # Errors
/// It cannot be read, or a line of it makes no sense.
pub(crate) fn read(path: &Path) -> Result<Vec<(OsString, OsString)>, EnvFileError> {
    let text = read_bounded(path).map_err(|error| EnvFileError::Unreadable(path.to_owned(), error))?;
    let pairs = parse(&text).map_err(|(line, fault)| EnvFileError::Syntax(path.to_owned(), line, fault))?;
    Ok(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

/// A device that never ends is no file of variables.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Vec<Entry>, (usize, Fault)> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = take_entry(rest).map_err(|fault| (line, fault))?;
        pairs.extend(entry);
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    Ok(pairs)
}

/// One entry: a name and its value.
type Entry = (String, String);

/// One entry, or none where the line is empty or a comment; and what follows it.
fn take_entry(text: &str) -> Result<(Option<Entry>, &str), Fault> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let start = line.trim_start();
    if start.trim_end().is_empty() || start.starts_with('#') {
        return Ok((None, after));
    }
    if line.contains('\0') {
        return Err(Fault::Zero);
    }
    let (name, value) = start.split_once('=').ok_or(Fault::NoEquals)?;
    let name = name.trim();
    let name =
        name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(name, str::trim);
    if !is_variable_name(name) {
        return Err(Fault::Name);
    }
    let value = value.trim_start_matches([' ', '\t']);
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return Ok((Some((name.to_owned(), plain(value).to_owned())), after));
    };
    // A quoted value may reach beyond the line: it is looked for in the whole of the rest.
    let begin = line.len() - value.len() + 1;
    let (value, after) = quoted(&text[begin..], quote)?;
    Ok((Some((name.to_owned(), value)), after))
}

/// A value without quotes ends where a comment begins: at ` #`.
fn plain(value: &str) -> &str {
    let comment = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    if value.starts_with('#') { "" } else { value[..comment].trim() }
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), Fault> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\0' => return Err(Fault::Zero),
            c if c == quote => return Ok((value, nothing_after(&text[at + 1..])?)),
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('\\' | '"' | '$'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => return Err(Fault::Unclosed),
            },
            c => value.push(c),
        }
    }
    Err(Fault::Unclosed)
}

/// After a closing quote only a comment may follow. Gives what stands after the line.
fn nothing_after(text: &str) -> Result<&str, Fault> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') { Ok(after) } else { Err(Fault::Trailing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Entry>, (usize, Fault)> {
        parse(text)
    }

    #[test]
    fn each_form_of_a_value_is_read() {
        let cases = [
            ("A=b", "b"),
            ("A = b ", "b"),
            ("export A=b", "b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=b=c", "b=c"),
            ("A=\"b # c\" # d", "b # c"),
            ("A=\"a\\nb\\\"\\\\\\x\"", "a\nb\"\\\\x"),
            ("A='a\\nb'", "a\\nb"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=$HOME", "$HOME"),
            ("A=b\r\n", "b"),
            ("\u{feff}A=b", "b"),
            ("# c\n\n  \nA=b", "b"),
        ];
        for (text, value) in cases {
            assert_eq!(parsed(text), Ok(vec![("A".to_owned(), value.to_owned())]), "{text:?}");
        }
    }

    #[test]
    fn a_fault_is_named_with_its_line() {
        let cases = [
            ("A=1\nB", 2, Fault::NoEquals),
            ("A=1\n\n# x\n2B=1", 4, Fault::Name),
            ("=1", 1, Fault::Name),
            ("A=\"1\n2\"\nB='3", 3, Fault::Unclosed),
            ("A=\"1\\", 1, Fault::Unclosed),
            ("A='1' 2", 1, Fault::Trailing),
            ("A=\0", 1, Fault::Zero),
        ];
        for (text, line, fault) in cases {
            assert_eq!(parsed(text), Err((line, fault)), "{text:?}");
        }
    }

    #[test]
    fn entries_keep_their_order_after_values_of_several_lines() {
        let text = "A=\"1\n2\" # c\nB=3\nexport C='4'\n";
        let names: Vec<String> = parsed(text).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["A", "B", "C"]);
    }
}
