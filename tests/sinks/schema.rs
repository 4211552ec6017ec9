//! docs/record.schema.json, and what lines say of it.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The schema.
pub(super) struct Schema {
    text: Value,
    validator: jsonschema::Validator,
}

impl Schema {
    pub(super) fn read() -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/record.schema.json");
        let text: Value =
            serde_json::from_str(&std::fs::read_to_string(&file)?).context("read the schema")?;
        let validator = jsonschema::validator_for(&text).context("compile the schema")?;
        Ok(Self { text, validator })
    }

    /// Checks every object.
    pub(super) fn check(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            // Its own kind tells more than "none of the two".
            let errors: Vec<String> = self
                .validator
                .iter_errors(object)
                .map(|error| format!("{error} at {}", error.instance_path()))
                .collect();
            ensure!(errors.is_empty(), "{object}: {}", errors.join("; "));
        }
        Ok(())
    }

    /// Every field, as `kind.path`, and every word that a field may have, as `kind.path=word`.
    pub(super) fn fields(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for kind in ["attempt", "count"] {
            walk_schema(&self.text["$defs"][kind], kind, &mut all);
        }
        all
    }
}

fn walk_schema(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        all.insert(path.clone());
        walk_schema(property, &path, all);
        walk_schema(&property["items"], &path, all);
    }
}

/// Every field of an object that is not null, spelled as [`Schema::fields`] does.
pub(super) fn fields_of(object: &Value, all: &mut BTreeSet<String>) {
    let definition = if object["kind"] == "attempt" { "attempt" } else { "count" };
    walk(object, definition, all);
}

fn walk(value: &Value, path: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}.{name}");
                all.insert(path.clone());
                walk(value, &path, all);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, path, all)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
