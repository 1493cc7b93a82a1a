//! One table of keys, made into words of the command line.
//!
//! Owns which TOML values stand for which words, and what lies over what. Never decides which tables there are: `document`
//! does.
#![expect(clippy::wildcard_enum_match_arm, reason = "TOML's kinds of values are not ours")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;

use clustr_supervisor::config::is_variable_name;
use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::command_line;
use super::keys::{COMMAND, Key, Keys, Kind};
use super::source::Fault;
use crate::dotenv;

/// Bound: values of one key. A reload reads the file in the primary's loop.
const VALUES_MAX: usize = 256;

/// The keys of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) keys: BTreeMap<String, Entry>,
    /// Variables, which are laid over each other one by one.
    pub(super) env: BTreeMap<String, Entry>,
    /// Names of apps, each with its place.
    pub(super) after: Option<Vec<(String, Range<usize>)>>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) place: Range<usize>,
    pub(super) words: Vec<OsString>,
}

impl Layer {
    /// What this says, and of what it does not say, what the other one does.
    pub(super) fn over(&self, below: &Self) -> Self {
        let both = |below: &BTreeMap<String, Entry>, above: &BTreeMap<String, Entry>| {
            below.iter().chain(above).map(|(name, entry)| (name.clone(), entry.clone())).collect()
        };
        Self {
            keys: both(&below.keys, &self.keys),
            env: both(&below.env, &self.env),
            after: self.after.clone().or_else(|| below.after.clone()),
        }
    }

    /// All options as words; the command is none.
    pub(super) fn words(&self) -> Vec<OsString> {
        let options = self.keys.iter().filter(|(name, _)| *name != COMMAND).map(|(_, entry)| entry);
        options.chain(self.env.values()).flat_map(|entry| entry.words.iter().cloned()).collect()
    }
}

/// Reads tables, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) keys: &'a Keys,
    pub(super) faults: Vec<Fault>,
}

impl Reader<'_> {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// One key of a table, which is known.
    pub(super) fn read(
        &mut self,
        layer: &mut Layer,
        key: &Key,
        place: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let mut insert = |words| {
            layer.keys.insert(key.name.clone(), Entry { place: place.clone(), words });
        };
        match key.kind {
            Kind::Variables => self.variables(layer, value),
            Kind::Apps => layer.after = Some(self.names(value)),
            Kind::Command => insert(self.command(value)),
            Kind::Flag => insert(self.flag(key, value)),
            Kind::Codes => insert(self.codes(key, value)),
            Kind::Count | Kind::Port | Kind::Time | Kind::Size | Kind::Choice | Kind::Text => {
                insert(self.values(key, value));
            }
        }
    }

    fn flag(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> Vec<OsString> {
        match value.get_ref() {
            DeValue::Boolean(true) => vec![format!("--{}", key.name).into()],
            DeValue::Boolean(false) => Vec::new(),
            other => {
                let what = format!("'{}' is true or false, not {}", key.name, kind_of(other));
                self.fault(Fault::at(&value.span(), what));
                Vec::new()
            }
        }
    }

    fn values(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> Vec<OsString> {
        match value.get_ref() {
            DeValue::Array(values) if values.len() > VALUES_MAX => {
                let what = format!("'{}' has more than {VALUES_MAX} values", key.name);
                self.fault(Fault::at(&value.span(), what));
                Vec::new()
            }
            DeValue::Array(values) if key.repeats => {
                values.iter().filter_map(|value| self.value(key, value)).collect()
            }
            DeValue::Array(_) => {
                self.fault(Fault::at(&value.span(), format!("'{}' has one value, not an array", key.name)));
                Vec::new()
            }
            _ => self.value(key, value).into_iter().collect(),
        }
    }

    /// One value as a word, judged as that of the command line.
    fn value(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<OsString> {
        let Some(text) = scalar(value.get_ref()).filter(|_| !matches!(value.get_ref(), DeValue::Boolean(_)))
        else {
            let what = format!("'{}' is {}, not {}", key.name, key.kind.words(), kind_of(value.get_ref()));
            self.fault(Fault::at(&value.span(), what));
            return None;
        };
        self.judge(key, text, &value.span())
    }

    fn judge(&mut self, key: &Key, text: String, place: &Range<usize>) -> Option<OsString> {
        if text.contains('\0') {
            self.fault(Fault::at(place, format!("'{}' cannot hold a zero byte", key.name)));
            return None;
        }
        let word = OsString::from(format!("--{}={text}", key.name));
        match self.keys.fault(&word) {
            None => Some(word),
            Some(fault) => {
                let what = format!("invalid value for '{}': {}", key.name, fault.why);
                let instead = fault.instead.map(|instead| instead.replace("--", ""));
                self.fault(Fault { instead, ..Fault::at(place, what) });
                None
            }
        }
    }

    /// Exit codes: one, an array of them, or as on the command line.
    fn codes(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> Vec<OsString> {
        let DeValue::Array(codes) = value.get_ref() else {
            return self.value(key, value).into_iter().collect();
        };
        let codes: Option<Vec<String>> = codes.iter().map(|code| scalar(code.get_ref())).collect();
        let Some(codes) = codes else {
            self.fault(Fault::at(&value.span(), format!("'{}' is an array of numbers", key.name)));
            return Vec::new();
        };
        if codes.is_empty() {
            return Vec::new();
        }
        self.judge(key, codes.join(","), &value.span()).into_iter().collect()
    }

    fn command(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<OsString> {
        let words = match value.get_ref() {
            DeValue::String(line) => command_line::split(line).map_err(|error| Fault {
                instead: error.instead(line),
                ..Fault::at(&value.span(), error.text())
            }),
            DeValue::Array(words) => array_of_words(words),
            other => Err(Fault::at(
                &value.span(),
                format!("a command is a string or an array, not {}", kind_of(other)),
            )),
        };
        let words = words.and_then(|words| match words.first() {
            None => Err(Fault::at(&value.span(), "there is no command in it")),
            Some(first) if first.is_empty() => Err(Fault::at(&value.span(), "the program has no name")),
            Some(_) if words.iter().any(|word| word.contains('\0')) => {
                Err(Fault::at(&value.span(), "a command cannot hold a zero byte"))
            }
            Some(_) => Ok(words),
        });
        words.map_or_else(
            |fault| {
                self.fault(fault);
                Vec::new()
            },
            |words| words.into_iter().map(OsString::from).collect(),
        )
    }

    fn names(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<(String, Range<usize>)> {
        let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(name) => Ok((name.to_string(), value.span())),
            other => Err(Fault::at(
                &value.span(),
                format!("the name of an app is a string, not {}", kind_of(other)),
            )),
        };
        let found: Vec<_> = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(one).collect(),
            _ => vec![one(value)],
        };
        found.into_iter().filter_map(|one| one.map_err(|fault| self.fault(fault)).ok()).collect()
    }

    fn variables(&mut self, layer: &mut Layer, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!("'env' is a table of variables, not {}", kind_of(value.get_ref()));
            return self.fault(Fault::at(&value.span(), what).instead("{ NAME = \"value\" }"));
        };
        for (name, value) in table {
            if !is_variable_name(name.get_ref()) {
                self.fault(Fault::at(&name.span(), dotenv::Fault::Name.text()));
                continue;
            }
            match scalar(value.get_ref()) {
                None => {
                    let what = format!("the value of a variable is a text, not {}", kind_of(value.get_ref()));
                    self.fault(Fault::at(&value.span(), what));
                }
                Some(text) if text.contains('\0') => {
                    self.fault(Fault::at(&value.span(), dotenv::Fault::Zero.text()));
                }
                Some(text) => {
                    let words = vec![format!("--env={}={text}", name.get_ref()).into()];
                    layer.env.insert(name.get_ref().to_string(), Entry { place: name.span(), words });
                }
            }
        }
    }
}

fn array_of_words(words: &DeArray<'_>) -> Result<Vec<String>, Fault> {
    let word = |value: &Spanned<DeValue<'_>>| {
        scalar(value.get_ref()).ok_or_else(|| {
            Fault::at(
                &value.span(),
                format!("a word of a command is a string, not {}", kind_of(value.get_ref())),
            )
        })
    };
    words.iter().map(word).collect()
}

/// A plain value as the text that it is on a command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

pub(super) const fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time: put it in quotes",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
