//! In tests only: the tables of `docs/configuration.md`, made from the keys and compared with the page.
//!
//! Owns their columns. With `CLUSTR_BLESS=1` the page is written anew.

use std::fmt::Write as _;

use super::keys::{Key, Keys, Kind, Scope};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
const BEGIN: &str = "<!-- keys: written by the tests -->\n";
const END: &str = "<!-- end of the keys -->\n";

#[test]
fn the_reference_has_every_key_with_its_type_default_unit_and_meaning() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("CLUSTR_BLESS").is_some() {
        return std::fs::write(PAGE, wanted).unwrap();
    }
    assert!(page == wanted, "docs/configuration.md is not what the keys are: CLUSTR_BLESS=1 writes it anew");
}

fn tables() -> String {
    let keys = Keys::new();
    let mut headings: Vec<&str> = Vec::new();
    for key in keys.all() {
        if !headings.contains(&key.heading.as_str()) {
            headings.push(&key.heading);
        }
    }
    let mut text = String::new();
    for heading in headings {
        let _ = writeln!(text, "\n### {heading}\n\n| key | value | default | meaning |\n|---|---|---|---|");
        for key in keys.all().iter().filter(|key| key.heading == heading) {
            let _ = writeln!(text, "{}", row(key));
        }
    }
    text + "\n"
}

fn row(key: &Key) -> String {
    let many = if key.repeats && key.kind != Kind::Variables { ", or an array of them" } else { "" };
    let place = match key.scope {
        Scope::Primary => " At the top of the file alone.",
        Scope::App => " Of one app.",
        Scope::Any => "",
    };
    let default = match (&key.default, key.name.as_str()) {
        (Some(default), _) => default.clone(),
        (None, "command") => "required".to_owned(),
        (None, "balance") => "by `share`".to_owned(),
        (None, _) => "none".to_owned(),
    };
    let meaning = key.meaning.trim_end_matches('.').replace('|', "\\|");
    format!("| `{}` | {}{many} | {} | {meaning}.{place} |", key.name, form(key), default.replace('|', "\\|"))
}

/// Its type, and the unit in which it is written.
fn form(key: &Key) -> String {
    match key.kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Count if key.form.contains("auto") => "number of workers, or `\"auto\"`".to_owned(),
        Kind::Count => "number, from 1 on".to_owned(),
        Kind::Port => "port: number".to_owned(),
        Kind::Time if key.form.contains("off") => "time with unit: `\"30s\"`; or `\"off\"`".to_owned(),
        Kind::Time => "time with unit: `\"500ms\"`, `\"10s\"`, `\"2m\"`".to_owned(),
        Kind::Size => "bytes with unit: `\"400M\"`, `\"300MiB\"`".to_owned(),
        Kind::Choice => {
            let words = key.choices.iter().map(|word| format!("`\"{word}\"`"));
            words.collect::<Vec<_>>().join(", ")
        }
        Kind::Codes => "exit codes: number, or an array of them".to_owned(),
        Kind::Text => format!("string: `{}`", key.form.replace('|', "\\|")),
        Kind::Command => "string, or an array of words".to_owned(),
        Kind::Apps => "name of an app, or an array of them".to_owned(),
        Kind::Variables => "table: `NAME = \"value\"`".to_owned(),
    }
}
