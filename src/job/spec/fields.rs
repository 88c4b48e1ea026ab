//! Reads a JSON object field by field, so that everything wrong with it is found at once.

use serde_json::{Map, Value};

use crate::job::pointer::{ClaimErrors, escape};

/// An object whose fields are taken one by one; what is left at the end is unknown.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    known: Vec<&'static str>,
    at: String,
}

impl<'a> Fields<'a> {
    /// `value` as an object at the JSON Pointer `at`; `None`, with an error noted, if it is none.
    pub(crate) fn of(value: &'a Value, at: &str, errors: &mut ClaimErrors) -> Option<Self> {
        match value {
            Value::Object(object) => Some(Self { object, known: Vec::new(), at: at.to_owned() }),
            other => {
                errors.push(at, format!("must be an object, not {}", kind(other)));
                None
            }
        }
    }

    /// The pointer of the field `name`.
    pub(crate) fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.at, escape(name))
    }

    /// The field `name`, unless it is absent or empty: `null`, `""`, `{}` and `[]` mean absent, since that is what
    /// Go clients send for it.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.object.get(name).filter(|v| !is_empty(v))
    }

    /// A `true` or `false`.
    pub(crate) fn bool(&mut self, name: &'static str, errors: &mut ClaimErrors) -> Option<bool> {
        self.parsed(name, errors, "true or false", Value::as_bool)
    }

    /// A word that `parse` knows; `expected` tells which there are.
    pub(crate) fn word<T>(
        &mut self,
        name: &'static str,
        errors: &mut ClaimErrors,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.parsed(name, errors, expected, |v| v.as_str().and_then(parse))
    }

    /// A whole number in `range`.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        errors: &mut ClaimErrors,
        range: std::ops::RangeInclusive<u8>,
    ) -> Option<u8> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parsed(name, errors, &expected, |v| {
            whole(v).and_then(|n| u8::try_from(n).ok()).filter(|n| range.contains(n))
        })
    }

    /// A number of bytes, at least one.
    pub(super) fn bytes(&mut self, name: &'static str, errors: &mut ClaimErrors) -> Option<u64> {
        self.parsed(name, errors, "a whole number of bytes, at least 1", |v| whole(v).filter(|bytes| *bytes > 0))
    }

    /// Notes every field that was never taken.
    pub(crate) fn refuse_unknown(self, errors: &mut ClaimErrors) {
        for name in self.object.keys().filter(|name| !self.known.contains(&name.as_str())) {
            errors.push(self.pointer(name), format!("unknown field; known are {}", self.known.join(", ")));
        }
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        errors: &mut ClaimErrors,
        expected: &str,
        parse: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            errors.push(self.pointer(name), format!("must be {expected}, not {}", show(value)));
        }
        parsed
    }
}

/// A whole number that isn't negative, however it is written: clients that keep all numbers as floating-point ones write
/// `80.0` for 80.
pub(super) fn whole(value: &Value) -> Option<u64> {
    /// From here on a floating-point number is no longer every whole one.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and within bounds")]
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..EXACT_MAX).contains(n)).map(|n| n as u64))
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `value` in a message: short, since it is a stranger's.
pub(super) fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
