//! What the API makes of a patch.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// RFC 7386.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut object[key], value);
        }
    }
}

/// Server-side apply of labels, never forced.
pub(super) fn apply(object: &mut Value, manager: &str, patch: &Value) -> Result<(), ()> {
    let wanted = patch["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let mut fields = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let owns = |field: &Value, key: &str| !field["fieldsV1"]["f:metadata"]["f:labels"][format!("f:{key}")].is_null();
    let others = |key: &str| fields.iter().any(|field| field["manager"] != manager && owns(field, key));
    let mut labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    if wanted.iter().any(|(key, value)| others(key) && labels.get(key).is_some_and(|there| there != value)) {
        return Err(());
    }
    let mine = fields.iter().position(|field| field["manager"] == manager);
    labels
        .retain(|key, _| wanted.contains_key(key) || others(key) || !mine.is_some_and(|mine| owns(&fields[mine], key)));
    labels.extend(wanted.clone());
    let owned: BTreeMap<String, Value> = wanted.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
    let field = json!({
        "manager": manager,
        "operation": "Apply",
        "fieldsV1": { "f:metadata": { "f:labels": owned } },
    });
    match mine {
        Some(mine) => fields[mine] = field,
        None => fields.push(field),
    }
    object["metadata"]["labels"] = json!(labels);
    object["metadata"]["managedFields"] = json!(fields);
    Ok(())
}
