//! Values that nobody shall read over a shoulder or find in a log.
//!
//! Owns which they are, as far as a name or a form tells, and what stands in their place. Never sees what workers get. Called
//! wherever variables are shown.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// What stands in the place of a secret.
pub(crate) const HIDDEN: &str = "***";

/// Parts of names whose values are secrets.
const WORDS: [&str; 10] =
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "KEY", "CREDENTIAL", "PRIVATE", "AUTH", "COOKIE"];

/// Whether a variable of this name holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word))
        || name == "PASS"
        || name.ends_with("_PASS")
        || name == "PGPASS"
}

/// A value as it may be shown: a password inside of an address is hidden too.
pub(crate) fn value(name: &str, value: &str) -> String {
    if is_secret(name) {
        return if value.is_empty() { String::new() } else { HIDDEN.to_owned() };
    }
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rsplit_once('@') {
        Some((who, _)) => {
            let user = who.split_once(':').map_or(HIDDEN.to_owned(), |(user, _)| format!("{user}:{HIDDEN}"));
            format!("{scheme}://{user}{}", &rest[who.len()..])
        }
        None => value.to_owned(),
    }
}

/// Variables as they may be shown; of two of one name, the later counts.
pub(crate) fn shown(variables: &[(OsString, OsString)]) -> BTreeMap<String, String> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    variables.iter().map(|(name, this)| (text(name), value(&text(name), &text(this)))).collect()
}

/// A line of a file as it may be shown: where it names a secret, what stands in quotes or behind `=` is hidden, letter by
/// letter, so that its columns stay.
pub(crate) fn line(text: &str) -> String {
    let is_named = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(is_secret);
    let is_address = text.contains("://") && text.contains('@');
    if !is_named && !is_address {
        return text.to_owned();
    }
    let mut quote = None;
    let mut hidden = String::with_capacity(text.len());
    for c in text.chars() {
        match quote {
            Some(open) if open == c => quote = None,
            Some(_) => {
                hidden.push('*');
                continue;
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
        hidden.push(c);
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_like_a_secret_is_hidden() {
        for name in ["API_KEY", "token", "Db_Password", "SESSION_SECRET", "SMTP_PASS", "PRIVATE_PEM"] {
            assert_eq!(value(name, "x"), HIDDEN, "{name}");
        }
        for name in ["PORT", "COMPASS", "NODE_ENV", "BYPASS_CACHE"] {
            assert_eq!(value(name, "x"), "x", "{name}");
        }
        assert_eq!(value("API_KEY", ""), "");
    }

    #[test]
    fn a_password_inside_of_an_address_is_hidden() {
        for (url, shown) in [
            ("postgres://ann:p@ss@db:5432/shop", "postgres://ann:***@db:5432/shop"),
            ("redis://:x@db", "redis://:***@db"),
            ("https://t0ken@host/a", "https://***@host/a"),
            ("https://host/a@b", "https://host/a@b"),
            ("a://", "a://"),
        ] {
            assert_eq!(value("DATABASE_URL", url), shown);
        }
    }

    #[test]
    fn a_line_of_a_file_keeps_its_columns_and_loses_its_secret() {
        assert_eq!(line("TOKEN = \"abc\" # it's"), "TOKEN = \"***\" # it'*");
        assert_eq!(line("env = { A = 'x', API_KEY = 'abc"), "env = { A = '*', API_KEY = '***");
        assert_eq!(line("PORT = \"3001\""), "PORT = \"3001\"");
        let url = "D = \"db://a:b@c\"";
        assert_eq!(line(url).chars().count(), url.chars().count());
        assert!(!line(url).contains("a:b"));
    }
}
