//! The tables of `clustr.toml`.
//!
//! Owns what stands where: keys at the top for the one app or for all of them, `[app.NAME]` for one of several, and
//! `[profile.NAME]`, which has the form of the whole file and lies over it. Everything that is wrong is found at once. Never
//! reads a disk. Called by `config_file`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{AFTER, APP, COMMAND, Key, Keys, PROFILE, Scope};
use super::layer::{Entry, Layer, Reader, kind_of};
use super::source::Fault;
use super::{App, order};
use crate::args::values::{self, ValueError};
use crate::names;

/// What a text comes to.
#[derive(Debug)]
pub(super) struct Document {
    /// The primary's name, where there are several apps.
    pub(super) name: Option<String>,
    /// In the order of their start.
    pub(super) apps: Vec<App>,
    /// What of it has no counterpart here.
    pub(super) notes: Vec<String>,
}

/// The file, or a profile of it.
#[derive(Clone, Debug, Default)]
struct Sheet {
    top: Layer,
    /// By their names; each with the place of its table.
    apps: BTreeMap<String, (Range<usize>, Layer)>,
}

/// Reads a text.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(text: &str, keys: &Keys, profile: Option<&str>) -> Result<Document, Vec<Fault>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(text, error)).collect());
    }
    let mut reader = Reader { keys, faults: Vec::new() };
    let table = document.get_ref();
    let mut sheet = reader.sheet(table, false, false);
    let profiles = reader.profiles(table);
    if let Some(name) = profile {
        match profiles.get(name) {
            Some(profile) => sheet = profile.over(sheet),
            None => reader.fault(no_profile(name, &profiles)),
        }
    }
    let apps = reader.apps(&sheet);
    match apps {
        Some(apps) if reader.faults.is_empty() => Ok(apps),
        Some(_) | None => Err(reader.faults),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Fault {
    let at = error.span().unwrap_or(0..0);
    let what = error.message().lines().collect::<Vec<_>>().join(", ");
    let is_duplicate = what.starts_with("duplicate key");
    let what = match text.get(at.clone()) {
        Some(key) if is_duplicate => format!("'{key}' stands here a second time"),
        Some(_) | None => what,
    };
    Fault::at(&at, what)
}

fn no_profile(name: &str, profiles: &BTreeMap<String, Sheet>) -> Fault {
    let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
    let fault = Fault::of_all(format!("there is no profile '{name}'"));
    match names::nearest(name, &known) {
        Some(near) => fault.instead(format!("--profile {near}")),
        None if known.is_empty() => fault.instead(format!("[profile.{name}]")),
        None => fault.instead(format!("known are: {}", known.join(", "))),
    }
}

impl Sheet {
    fn over(&self, below: Self) -> Self {
        let mut apps = below.apps;
        for (name, (place, layer)) in &self.apps {
            let below = apps.remove(name);
            let (place, layer) = match below {
                Some((place, below)) => (place, layer.over(&below)),
                None => (place.clone(), layer.clone()),
            };
            apps.insert(name.clone(), (place, layer));
        }
        Self { top: self.top.over(&below.top), apps }
    }
}

impl Reader<'_> {
    /// A table with the form of the whole file; `has_apps`: it lies over one that has tables of apps.
    fn sheet(&mut self, table: &DeTable<'_>, is_profile: bool, has_apps: bool) -> Sheet {
        let mut sheet = Sheet::default();
        let stand = if has_apps || table.contains_key(APP) { Stand::AboveApps } else { Stand::Alone };
        for (name, value) in table {
            match &**name.get_ref() {
                APP => self.app_tables(&mut sheet, value),
                PROFILE if is_profile => self.fault(Fault::at(&name.span(), "a profile has none of its own")),
                PROFILE => {}
                _ => self.key(&mut sheet.top, name, value, stand),
            }
        }
        sheet
    }

    fn app_tables(&mut self, sheet: &mut Sheet, value: &Spanned<DeValue<'_>>) {
        let DeValue::Table(apps) = value.get_ref() else {
            let what = format!("'app' holds a table for each app, not {}", kind_of(value.get_ref()));
            return self.fault(Fault::at(&value.span(), what).instead("[app.NAME]"));
        };
        for (name, value) in apps {
            self.name(name);
            let DeValue::Table(table) = value.get_ref() else {
                let what =
                    format!("'{}' is no app's table, but {}", name.get_ref(), kind_of(value.get_ref()));
                self.fault(Fault::at(&name.span(), what).instead("[app.NAME]"));
                continue;
            };
            let mut layer = Layer::default();
            for (key, value) in table {
                self.key(&mut layer, key, value, Stand::InApp);
            }
            sheet.apps.insert(name.get_ref().to_string(), (name.span(), layer));
        }
    }

    fn name(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>) {
        match values::name(name.get_ref()) {
            Ok(_) => {}
            Err(ValueError::Invalid { why, .. }) => self.fault(Fault::at(&name.span(), why)),
            Err(ValueError::Absent { instead }) => self.fault(Fault::at(&name.span(), instead)),
        }
    }

    /// All of them are read, chosen or not: whoever mistypes in the one for production wants to know it before.
    fn profiles(&mut self, table: &DeTable<'_>) -> BTreeMap<String, Sheet> {
        let mut profiles = BTreeMap::new();
        let Some((_, value)) = table.get_key_value(PROFILE) else { return profiles };
        let DeValue::Table(tables) = value.get_ref() else {
            let what = format!("'profile' holds a table for each profile, not {}", kind_of(value.get_ref()));
            self.fault(Fault::at(&value.span(), what).instead("[profile.production]"));
            return profiles;
        };
        let has_apps = table.contains_key(APP);
        for (name, value) in tables {
            let DeValue::Table(profile) = value.get_ref() else {
                let what =
                    format!("'{}' is no profile's table, but {}", name.get_ref(), kind_of(value.get_ref()));
                self.fault(Fault::at(&name.span(), what).instead("[profile.NAME]"));
                continue;
            };
            let sheet = self.sheet(profile, true, has_apps);
            profiles.insert(name.get_ref().to_string(), sheet);
        }
        profiles
    }

    fn key(
        &mut self,
        layer: &mut Layer,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        stand: Stand,
    ) {
        let Some(key) = self.keys.find(name.get_ref()) else {
            return self.fault(unknown(self.keys, name, stand));
        };
        match misplaced(key, stand) {
            Some(why) => {
                let what = format!("'{}' {why}", key.name);
                self.fault(Fault::at(&name.span(), what));
            }
            None => self.read(layer, key, &name.span(), value),
        }
    }

    /// The apps of a sheet, in their order; what stands for all of them lies under each.
    fn apps(&mut self, sheet: &Sheet) -> Option<Document> {
        if sheet.apps.is_empty() {
            let app = self.app(None, None, &sheet.top)?;
            return Some(Document { name: None, apps: vec![app], notes: Vec::new() });
        }
        let mut written: Vec<(&String, &(Range<usize>, Layer))> = sheet.apps.iter().collect();
        written.sort_by_key(|(_, (place, _))| place.start);
        let order = self.order(&written);
        // Whatever their order: each of them is looked at.
        let as_written = || (0..written.len()).collect();
        let mut top = sheet.top.clone();
        let name = top.keys.remove("name").and_then(|name| text_of(&name.words));
        let made: Vec<Option<App>> = order
            .clone()
            .unwrap_or_else(as_written)
            .into_iter()
            .map(|at| {
                let (name, (place, layer)) = written[at];
                self.app(Some(name), Some(place), &layer.over(&top))
            })
            .collect();
        let apps = made.into_iter().collect::<Option<Vec<App>>>()?;
        order.map(|_| Document { name, apps, notes: Vec::new() })
    }

    fn order(&mut self, written: &[(&String, &(Range<usize>, Layer))]) -> Option<Vec<usize>> {
        let known: Vec<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
        let mut after = Vec::new();
        for (_, (_, layer)) in written {
            let mut places = Vec::new();
            for (name, place) in layer.after.iter().flatten() {
                match known.iter().position(|known| known == name) {
                    Some(at) => places.push(at),
                    None => {
                        let fault = Fault::at(place, format!("there is no app '{name}'"));
                        let near = names::nearest(name, &known).map(|near| format!("\"{near}\""));
                        self.fault(Fault { instead: near, ..fault });
                    }
                }
            }
            after.push(places);
        }
        match order::sorted(&after) {
            Ok(order) => Some(order),
            Err(circle) => {
                let first = written[circle[0]].1;
                let place = first.1.after.iter().flatten().map(|(_, place)| place).next().unwrap_or(&first.0);
                let mut walk: Vec<&str> = circle.iter().map(|at| known[*at]).collect();
                walk.push(known[circle[0]]);
                let what = format!("apps wait for each other in a circle: {}", walk.join(" after "));
                self.fault(Fault::at(place, what));
                None
            }
        }
    }

    fn app(&mut self, name: Option<&String>, place: Option<&Range<usize>>, layer: &Layer) -> Option<App> {
        let command = layer.keys.get(COMMAND).map(|entry| entry.words.clone());
        let mut words = layer.words();
        let mut places: BTreeMap<String, Range<usize>> =
            layer.keys.iter().map(|(name, entry)| (name.clone(), entry.place.clone())).collect();
        let itself = place.cloned().or_else(|| places.get(COMMAND).cloned());
        places.extend(itself.map(|place| (String::new(), place)));
        if let Some((option, why)) = self.keys.conflict(&words) {
            self.fault(self.conflict(layer, &option, why, places.get("")));
        }
        let Some(command) = command else {
            let what = name.map_or_else(
                || "there is no command in it".to_owned(),
                |name| format!("'{name}' has no command"),
            );
            let fault = Fault { span: place.cloned(), ..Fault::of_all(what) };
            self.fault(fault.instead("command = \"node app.js\""));
            return None;
        };
        words.extend(name.map(|name| OsString::from(format!("--name={name}"))));
        let after = layer.after.iter().flatten().map(|(name, _)| name.clone()).collect();
        Some(App { name: name.cloned(), command, words, after, places })
    }

    /// Keys that do not fit together, at the one that needs another.
    fn conflict(&self, layer: &Layer, option: &str, why: String, itself: Option<&Range<usize>>) -> Fault {
        let is_lacking = |(name, entry): &(&String, &Entry)| {
            *name != COMMAND && self.keys.conflict(&entry.words).is_some()
        };
        match layer.keys.iter().find(is_lacking) {
            Some((key, entry)) => {
                Fault::at(&entry.place, format!("'{key}' needs '{option}', which is missing"))
            }
            None => Fault { span: itself.cloned(), ..Fault::of_all(why) },
        }
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stand {
    /// At the top, and there are no tables of apps.
    Alone,
    /// At the top, above tables of apps.
    AboveApps,
    /// In an app's table.
    InApp,
}

/// Why a key may not stand there.
fn misplaced(key: &Key, stand: Stand) -> Option<&'static str> {
    match (key.scope, stand) {
        (Scope::Primary, Stand::InApp) if key.name == "name" => {
            Some("of an app is that of its table, [app.NAME]")
        }
        (Scope::Primary, Stand::InApp) => Some("is the primary's, and stands at the top"),
        (Scope::App, Stand::AboveApps) => Some("belongs into the table of one app, [app.NAME]"),
        (Scope::App, Stand::Alone) if key.name == AFTER => {
            Some("has a meaning with several apps alone, [app.NAME]")
        }
        _ => None,
    }
}

fn unknown(keys: &Keys, name: &Spanned<std::borrow::Cow<'_, str>>, stand: Stand) -> Fault {
    let typed = name.get_ref();
    let known = keys.all().iter().filter(|key| misplaced(key, stand).is_none()).map(|key| key.name.as_str());
    let tables = [APP, PROFILE].into_iter().filter(|_| stand != Stand::InApp);
    let known: Vec<&str> = known.chain(tables).collect();
    let fault = Fault::at(&name.span(), format!("unknown key '{typed}'"));
    let is_case_alone =
        |known: &&&str| known.replace('-', "") == typed.to_ascii_lowercase().replace(['_', '-'], "");
    match known.iter().find(is_case_alone).copied().or_else(|| names::nearest(typed, &known)) {
        Some(near) => fault.instead(near),
        None => fault,
    }
}

fn text_of(words: &[OsString]) -> Option<String> {
    let word = words.first()?.to_str()?;
    word.split_once('=').map(|(_, text)| text.to_owned())
}
