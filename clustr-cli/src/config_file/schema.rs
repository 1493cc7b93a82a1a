//! The JSON schema of `clustr.toml`, for editors.
//!
//! Owns how forms of values are said in it. Which keys there are stands in `keys`. Called by `clustr check --schema`.

use serde_json::{Map, Value, json};

use super::keys::{APP, Key, Keys, Kind, PROFILE, Scope};

/// The schema, to be read.
pub(crate) fn text() -> String {
    format!("{:#}", schema())
}

fn schema() -> Value {
    let keys = Keys::new();
    let app = table(&keys, |key| key.scope != Scope::Primary);
    let mut profile = table(&keys, |_| true);
    let apps = json!({
        "type": "object",
        "description": "Several apps under one primary: a table for each, [app.NAME]",
        "additionalProperties": { "$ref": "#/definitions/app" },
    });
    profile["properties"][APP] = apps;
    let mut file = profile.clone();
    file["properties"][PROFILE] = json!({
        "type": "object",
        "description": "What --profile NAME lays over the file: [profile.NAME] has the form of the whole of it",
        "additionalProperties": { "$ref": "#/definitions/profile" },
    });
    file["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    file["title"] = json!("clustr.toml");
    file["definitions"] = json!({ "app": app, "profile": profile });
    file
}

/// A table with these keys, and no others.
fn table(keys: &Keys, is_there: impl Fn(&Key) -> bool) -> Value {
    let properties: Map<String, Value> =
        keys.all().iter().filter(|key| is_there(key)).map(|key| (key.name.clone(), property(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    let one = form(key);
    let mut property =
        if key.repeats { json!({ "anyOf": [one, { "type": "array", "items": one }] }) } else { one };
    // Variables are a table of their own, whose entries do not repeat.
    if key.kind == Kind::Variables {
        property = form(key);
    }
    property["description"] = json!(key.meaning);
    if let Some(default) = &key.default {
        property["x-default"] = json!(default);
    }
    property
}

fn form(key: &Key) -> Value {
    match key.kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count => json!({ "type": ["integer", "string"], "minimum": 1 }),
        Kind::Port => json!({ "type": ["integer", "string"], "minimum": 1, "maximum": 65535 }),
        Kind::Time => json!({ "type": "string", "examples": ["500ms", "10s", "2m"] }),
        Kind::Size => json!({ "type": "string", "examples": ["400M", "1.5G", "300MiB"] }),
        Kind::Choice => json!({ "enum": key.choices }),
        Kind::Codes => {
            let code = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
            json!({ "anyOf": [code, { "type": "string" }, { "type": "array", "items": code }] })
        }
        Kind::Text if key.name == "stop-signal" || key.name == "listen" => {
            json!({ "type": ["string", "integer"] })
        }
        Kind::Text => json!({ "type": "string" }),
        Kind::Command => json!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 },
        ] }),
        Kind::Apps => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
        }
        Kind::Variables => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::agreement::EXAMPLES;
    use super::*;
    use toml::de::{DeTable, DeValue};

    /// What the schema uses of JSON Schema, and no more: an unknown word in it is a failure of the test.
    fn accepts(root: &Value, rule: &Value, value: &Value) -> bool {
        rule.as_object().unwrap().iter().all(|(word, limit)| match word.as_str() {
            "$ref" => {
                accepts(root, root.pointer(limit.as_str().unwrap().trim_start_matches('#')).unwrap(), value)
            }
            "type" => limit
                .as_array()
                .map_or_else(|| is_of(limit, value), |all| all.iter().any(|kind| is_of(kind, value))),
            "enum" => limit.as_array().unwrap().contains(value),
            "anyOf" => limit.as_array().unwrap().iter().any(|rule| accepts(root, rule, value)),
            "items" => value.as_array().is_none_or(|all| all.iter().all(|one| accepts(root, limit, one))),
            "minItems" => value.as_array().is_none_or(|all| all.len() as u64 >= limit.as_u64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= limit.as_u64().unwrap()),
            "minimum" => value.as_i64().is_none_or(|number| number >= limit.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= limit.as_i64().unwrap()),
            "properties" | "additionalProperties" => accepts_table(root, rule, value),
            "$schema" | "title" | "description" | "definitions" | "examples" | "x-default" => true,
            _ => panic!("the test does not know '{word}'"),
        })
    }

    fn accepts_table(root: &Value, rule: &Value, value: &Value) -> bool {
        let Some(table) = value.as_object() else { return true };
        table.iter().all(|(name, value)| {
            match (rule["properties"].get(name), &rule["additionalProperties"]) {
                (Some(rule), _) => accepts(root, rule, value),
                (None, Value::Bool(may)) => *may,
                (None, rule) => accepts(root, rule, value),
            }
        })
    }

    fn is_of(kind: &Value, value: &Value) -> bool {
        match kind.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            kind => panic!("the test does not know '{kind}'"),
        }
    }

    fn json_of(value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => json!(text),
            DeValue::Integer(number) => json!(i64::from_str_radix(number.as_str(), number.radix()).unwrap()),
            DeValue::Float(number) => json!(number.as_str().parse::<f64>().unwrap()),
            DeValue::Boolean(value) => json!(value),
            DeValue::Datetime(_) => Value::Null,
            DeValue::Array(values) => values.iter().map(|value| json_of(value.get_ref())).collect(),
            DeValue::Table(table) => {
                let entry = |(name, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
                    (
                        <std::borrow::Cow<'_, str> as ToString>::to_string(name.get_ref()),
                        json_of(value.get_ref()),
                    )
                };
                Value::Object(table.iter().map(entry).collect())
            }
        }
    }

    fn is_accepted(text: &str) -> bool {
        let (schema, file) = (schema(), DeTable::parse(text).unwrap());
        accepts(&schema, &schema, &json_of(&DeValue::Table(file.into_inner())))
    }

    #[test]
    fn the_schema_accepts_every_key_with_each_of_its_forms() {
        for (key, value, _) in EXAMPLES {
            assert!(is_accepted(&format!("command = 'x'\n{key} = {value}\n")), "{key} = {value}");
            assert!(is_accepted(&format!("[profile.p]\n{key} = {value}\n")), "{key} = {value}");
        }
        assert!(is_accepted(
            "[app.a]\ncommand = ['x', 5]\nafter = ['b']\n[app.b]\ncommand = 'y'\nworkers = 2\n"
        ));
        assert!(is_accepted("restart = 'always'\n[profile.p.app.a]\nenv.A = 1\n"));
    }

    #[test]
    fn the_schema_refuses_what_clustr_refuses() {
        for text in [
            "wrokers = 1",
            "share = 'sharde'",
            "workers = 0",
            "stop-timeout = 10",
            "share-zero = 'yes'",
            "port = 70000",
            "stop-exit-codes = [256]",
            "command = []",
            "env = ['A=b']",
            "[app.a]\nname = 'b'",
            "[app.a]\nwrokers = 1",
            "[profile.p]\nwrokers = 1",
            "[profile.p.profile.q]\nworkers = 1",
        ] {
            assert!(!is_accepted(text), "{text}");
            let full = if text.starts_with("command") { text.to_owned() } else { format!("{text}\n") };
            assert!(super::super::document::read(&full, &Keys::new(), None).is_err(), "{text}");
        }
    }
}
