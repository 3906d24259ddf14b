//! The options that a server tells whoever joins it, against the settings of that one: `{"told": …, "config": …}`.

use bowline_enroll::wire::Agreed;
use bowline_join::agree::{agreed, differences, taken_over};
use bowline_settings::{ConfigScalar, ConfigValue};
use serde_json::Value;
use std::collections::BTreeMap;

/// Whether both can be read.
pub fn check(data: &[u8]) -> bool {
    let Ok(all) = serde_json::from_slice::<Value>(data) else { return false };
    let Ok(told) = serde_json::from_value::<Agreed>(all["told"].clone()) else { return false };
    let fields = all["config"].as_object().into_iter().flatten();
    let config: BTreeMap<String, ConfigValue> =
        fields.filter_map(|(key, it)| Some((key.clone(), value(it)?))).collect();

    let taken = taken_over(&config, &told);
    assert!(taken.keys().all(|key| !config.contains_key(key)), "what the settings say is theirs");
    let mut both = config.clone();
    both.extend(taken);
    assert!(taken_over(&both, &told).is_empty(), "once is enough");
    for difference in differences(&both, &told) {
        assert!(config.contains_key(&difference.option), "it differs in what it took over: {difference:?}");
        assert_ne!(difference.ours, difference.theirs);
    }
    // Who has the same settings has nothing to take over, and no difference.
    let same = agreed(&config, false);
    assert!(taken_over(&config, &same).is_empty(), "{:?}", taken_over(&config, &same));
    assert!(differences(&config, &same).is_empty(), "{:?}", differences(&config, &same));
    true
}

fn value(json: &Value) -> Option<ConfigValue> {
    let one = |json: &Value| match json {
        Value::Bool(yes) => Some(ConfigScalar::Bool(*yes)),
        Value::Number(number) => number.as_i64().map(ConfigScalar::Integer),
        Value::String(text) => Some(ConfigScalar::Text(text.clone())),
        _ => None,
    };
    match json {
        Value::Array(all) => Some(ConfigValue::Many(all.iter().filter_map(one).collect())),
        json => one(json).map(ConfigValue::One),
    }
}
