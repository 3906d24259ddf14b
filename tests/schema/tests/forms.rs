//! The documents themselves: they say everything, and know every word that the program has.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_engine::{
    CapabilityReport, CapabilityState, Failing, Note, Overall, RefusalReport, Report, Risk, SettingsReport, StepReport,
    WaitReport,
};
use bowline_enroll::Code;
use bowline_ports::{ErrorKind, ProgressValue};
use bowline_schema::{FORMS, document, fits, folder, read};
use serde_json::{Value, json};

#[test]
fn every_document_is_valid_and_listed() {
    let mut files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".json").to_owned())
        .collect();
    files.sort();
    assert_eq!(files, FORMS);
    for form in FORMS {
        let document = document(form).unwrap();
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema", "{form}");
        jsonschema::meta::validate(&document).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert!(document["title"].is_string(), "{form}");
        described(form, &document);
    }
}

/// Every schema in it says what it is, and every object has exactly the keys that are named.
fn described(at: &str, schema: &Value) {
    let description = schema["description"].as_str().unwrap_or_default();
    assert!(description.ends_with('.'), "{at} is described as: {description:?}");
    if schema["properties"].is_object() {
        assert_eq!(schema["additionalProperties"], false, "{at} is open");
    }
    if schema["type"] == "object" {
        assert!(!schema["additionalProperties"].is_null(), "{at} is open");
    }
    for named in ["properties", "$defs"] {
        for (key, one) in schema[named].as_object().into_iter().flatten() {
            described(&format!("{at} {key}"), one);
        }
    }
    for one in schema["oneOf"].as_array().into_iter().flatten().chain([&schema["items"]]).filter(|one| one.is_object())
    {
        described(&format!("{at} one of them"), one);
    }
    if schema["additionalProperties"].is_object() {
        described(&format!("{at} value"), &schema["additionalProperties"]);
    }
}

/// Every field in use. A field that is new does not compile here, and then is not in the form.
fn report(state: CapabilityState, kind: ErrorKind, risk: Risk, overall: Overall) -> Value {
    let failing = Failing {
        attempts: 3,
        since: 1_790_000_000,
        kind,
        error: "no answer".into(),
        hint: Some("look".into()),
        next_try: 1_790_000_009,
    };
    let step = StepReport {
        item: "volume/data".into(),
        what: "mount it".into(),
        why: "it is not mounted".into(),
        risk,
        action: json!({ "Mount": { "at": "/mnt/data" } }),
        running: Some(ProgressValue { done: 1, total: 2, text: "half".into() }),
        failing: Some(failing),
    };
    let wait = |overdue| WaitReport {
        item: "address".into(),
        what: "an address".into(),
        why: "there is none".into(),
        since: 0,
        overdue,
    };
    let refusal = RefusalReport {
        item: "volume/data".into(),
        what: "format it".into(),
        why: "it is not blank".into(),
        hint: "look".into(),
        since: 0,
    };
    let capability = CapabilityReport {
        name: "volumes".into(),
        state,
        steps: vec![step.clone(), StepReport { running: None, failing: None, action: Value::Null, ..step }],
        waits: vec![wait(None), wait(Some("look".into()))],
        refusals: vec![refusal],
        notes: vec![Note { item: "clock".into(), text: "is late".into() }],
        error: Some("no answer".into()),
    };
    let report = Report {
        schema: Report::SCHEMA,
        version: "0.1.0".into(),
        at: 1_790_000_000,
        looks: 1,
        overall,
        settings: SettingsReport { files: vec!["a.toml".into()], errors: vec!["a.toml:1:1: no".into()], absent: false },
        capabilities: vec![capability],
        conditions: [("address".to_owned(), "10.0.1.20".to_owned())].into(),
    };
    serde_json::to_value(report).unwrap()
}

#[test]
fn a_report_with_everything_in_it_has_the_form() {
    use ErrorKind as E;
    let kinds =
        [E::NotFound, E::Denied, E::Busy, E::Timeout, E::NoSpace, E::Unreachable, E::Invalid, E::Changed, E::Other];
    let whole = |state, kind, risk, overall| fits("report", &report(state, kind, risk, overall)).unwrap();
    for state in CapabilityState::ALL {
        whole(state, E::Other, Risk::Safe, Overall::Ready);
    }
    for kind in kinds {
        // One that is new does not compile here.
        match kind {
            E::NotFound | E::Denied | E::Busy | E::Timeout | E::NoSpace | E::Unreachable | E::Invalid => {}
            E::Changed | E::Other => {}
        }
        whole(CapabilityState::Done, kind, Risk::Restart, Overall::Converging);
    }
    whole(CapabilityState::Done, E::Other, Risk::Erase, Overall::Degraded);
    read("report", &serde_json::to_string(&Report { schema: Report::SCHEMA, ..Report::default() }).unwrap()).unwrap();
}

#[test]
fn what_differs_is_told_with_its_place() {
    let good = report(CapabilityState::Done, ErrorKind::Other, Risk::Safe, Overall::Ready);
    let differs = |change: &dyn Fn(&mut Value)| {
        let mut report = good.clone();
        change(&mut report);
        fits("report", &report).unwrap_err()
    };
    let text = differs(&|report| report["capabilities"][0]["steps"][0]["further"] = json!(1));
    assert!(text.contains("/capabilities/0/steps/0: ") && text.contains("further"), "{text}");
    let text = differs(&|report| report["capabilities"][0]["state"] = json!("fine"));
    assert!(text.contains("/capabilities/0/state: "), "{text}");
    let text = differs(&|report| drop(report["settings"].as_object_mut().unwrap().remove("absent")));
    assert!(text.contains("/settings: ") && text.contains("absent"), "{text}");
    assert!(read("report", "half a lin").unwrap_err().contains("no JSON"));
    assert!(read("rapport", "{}").unwrap_err().contains("rapport.json"));
}

/// Words that the program has in one list.
#[test]
fn every_reason_for_a_refusal_is_known() {
    let nodes = document("nodes").unwrap();
    let known: Vec<_> = nodes["$defs"]["refused"]["properties"]["code"]["anyOf"][0]["enum"].as_array().unwrap().clone();
    assert_eq!(known, Code::ALL.map(|code| json!(code.as_str())));
}
