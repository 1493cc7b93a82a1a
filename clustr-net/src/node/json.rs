//! A few fields out of a JSON object, without building the object.
//!
//! Owns the leniency towards what workers write: any field may be missing, null, a boolean, a number or a string.
//! Never recurses and never copies what was not asked for, so that no line can cost more than its length. Called by
//! `message`, `query` and `worker`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The raw values of the named fields of an object. Of equal names the last wins, as in `JSON.parse`. `None` if the
/// text is no JSON object.
pub(crate) fn pick<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let fields = parser.deserialize_map(Pick { names }).ok()?;
    parser.end().ok().map(|()| fields)
}

/// Whether the text is one JSON value.
pub(crate) fn is_valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A number; also `true`, `false`, and digits in a string, all of which JavaScript counts as numbers.
pub(crate) fn integer(value: Option<&RawValue>) -> Option<i64> {
    let text = value?.get();
    match text {
        "true" => return Some(1),
        "false" => return Some(0),
        _ => {}
    }
    let digits = text.trim_matches('"');
    digits.parse().ok().or_else(|| whole(digits.parse().ok()?))
}

/// `3001.0` and `3e3` are whole numbers too, up to the largest that JavaScript counts exactly.
fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    if number.fract() != 0.0 || number.abs() > EXACT_MAX {
        return None;
    }
    format!("{number:.0}").parse().ok()
}

/// A string.
pub(crate) fn string(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// A boolean; a number that is not 0 counts as true.
pub(crate) fn truth(value: Option<&RawValue>) -> bool {
    integer(value).is_some_and(|number| number != 0)
}

/// The text of a value, `null` if there is none.
pub(crate) fn raw(value: Option<&RawValue>) -> String {
    value.map_or("null", RawValue::get).to_owned()
}

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Pick<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Place { names: &self.names })? {
            match place {
                Some(place) => found[place] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Turns a field's name into its place in the list, without keeping the name.
struct Place<'n> {
    names: &'n [&'n str],
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|wanted| *wanted == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Option<&RawValue> {
        pick(text, ["x"]).and_then(|[x]| x)
    }

    #[test]
    fn fields_are_found_whatever_surrounds_them() {
        assert_eq!(one(r#"{"a":[{"x":1}],"x":{"y":2},"b":null}"#).map(RawValue::get), Some(r#"{"y":2}"#));
        assert_eq!(one(r#"{"x":1,"x":2}"#).map(RawValue::get), Some("2"), "the last of equals wins");
        assert_eq!(one(r#"{"\u0078":3}"#).map(RawValue::get), Some("3"), "names may be escaped");
        assert!(pick("[1]", ["x"]).is_none() && pick("{", ["x"]).is_none() && pick("{} {}", ["x"]).is_none());
    }

    #[test]
    fn numbers_are_read_as_javascript_would() {
        let cases = [
            ("3001", Some(3001)),
            ("-1", Some(-1)),
            ("3001.0", Some(3001)),
            ("3e3", Some(3000)),
            ("true", Some(1)),
            ("false", Some(0)),
            (r#""3001""#, Some(3001)),
            ("null", None),
            ("1.5", None),
            ("1e300", None),
            (r#""x""#, None),
            ("{}", None),
        ];
        for (text, number) in cases {
            assert_eq!(integer(one(&format!("{{\"x\":{text}}}"))), number, "{text}");
        }
        assert_eq!(integer(None), None);
    }

    #[test]
    fn a_deep_line_costs_no_stack() {
        let depth = 1_000_000;
        let text = format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_valid(&text) && one(&text).is_some());
    }
}
