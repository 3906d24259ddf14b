//! The alerts that are shipped, beside what `promtool test rules tests/alerts/*.yml` says of them: each has its page, and is
//! tested firing and silent; none names a metric that nobody tells, or ends with one failed scrape.

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::prometheus::{known, metrics, packaging, read, tool};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

/// The rules of all groups, records as well.
fn rules() -> Vec<Value> {
    let file = yaml(&packaging("prometheus/rules.yml"));
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// The page that belongs to no alert of its own: others link to it.
const SHARED: &str = "making-room.md";

/// Name and severity of every alert.
fn alerts() -> BTreeSet<(String, String)> {
    let all = rules();
    let alerts = all.iter().filter(|rule| rule["alert"].is_string());
    alerts.map(|rule| (text(&rule["alert"]), text(&rule["labels"]["severity"]))).collect()
}

#[test]
fn every_alert_says_what_a_person_on_call_needs() {
    let mut seen = BTreeSet::new();
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = text(&rule["alert"]);
        let severity = text(&rule["labels"]["severity"]);
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: severity “{severity}”");
        assert!(seen.insert((name.clone(), severity.clone())), "{name} is there twice as {severity}");
        for annotation in ["summary", "description"] {
            assert!(text(&rule["annotations"][annotation]).len() > 20, "{name} has no {annotation}");
        }
        let page = format!("/usr/share/bowline/prometheus/runbooks/{name}.md");
        assert_eq!(text(&rule["annotations"]["runbook"]), page, "{name}");
        // Without a time of its own it rests on a window that one scrape does not move.
        let window = |call: &str| text(&rule["expr"]).starts_with(call);
        let patient = rule["for"].is_string() || window("increase(") || window("changes(");
        assert!(patient, "{name} fires at once");
    }
    assert!(seen.len() > 28, "{seen:?}");
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let named: BTreeSet<String> = alerts().into_iter().map(|(name, _)| format!("{name}.md")).collect();
    let folder = fs::read_dir(packaging("prometheus/runbooks")).unwrap();
    let mut pages: BTreeSet<String> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(pages.remove(SHARED), "{SHARED} is not there");
    assert_eq!(pages, named);
    let mut linked = 0;
    for page in pages {
        let name = page.trim_end_matches(".md").to_string();
        let content = read(&packaging("prometheus/runbooks").join(&page));
        linked += usize::from(content.contains(&format!("({SHARED})")));
        assert!(content.starts_with(&format!("# {name}: ")), "{page} begins otherwise");
        let headings: Vec<&str> = content.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, ["How to look", "What to do", "What not to do"], "{page}");
        refers_to_alerts(&page, &content, &named);
    }
    assert!(linked > 4, "{linked} pages link to {SHARED}");
    refers_to_alerts(SHARED, &read(&packaging("prometheus/runbooks").join(SHARED)), &named);
}

/// What a page refers to by name is there.
fn refers_to_alerts(page: &str, content: &str, named: &BTreeSet<String>) {
    for word in content.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() > 7) {
        if word.starts_with("Bowline") {
            assert!(named.contains(&format!("{word}.md")), "{page} speaks of {word}");
        }
    }
}

/// Both are said by `exp_alerts`: what fires at a time, with all of its labels; and by that what does not.
#[test]
fn every_alert_is_tested_firing_and_silent() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in fs::read_dir("../alerts").unwrap() {
        let file = yaml(&file.unwrap().path());
        let tests = file["tests"].as_array().unwrap();
        for check in tests.iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap()) {
            let name = text(&check["alertname"]);
            let expected = check["exp_alerts"].as_array().unwrap();
            let severities: BTreeSet<_> = expected.iter().map(|e| text(&e["exp_labels"]["severity"])).collect();
            for severity in ["critical", "warning", "info"] {
                let list = if severities.contains(severity) { &mut firing } else { &mut silent };
                list.insert((name.clone(), severity.to_string()));
            }
        }
    }
    let all = alerts();
    assert_eq!(firing, all, "fires in no test, or a test names what is no alert");
    let never: Vec<_> = all.difference(&silent).collect();
    assert!(never.is_empty(), "silent in no test: {never:?}");
}

/// Targets have labels of their own (a cluster, an environment): each alert fires and is silent as without them, and has them
/// itself, where it is not one of the whole job.
#[test]
fn labels_of_a_target_change_no_alert() {
    const OF_THE_JOB: [&str; 2] = ["BowlineNotScraped", "BowlineNodesMissing"];
    let scratch = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for file in fs::read_dir("../alerts").unwrap() {
        let file = file.unwrap();
        let mut labelled = yaml(&file.path());
        labelled["rule_files"] = json!([packaging("prometheus/rules.yml")]);
        for test in labelled["tests"].as_array_mut().unwrap() {
            for input in test["input_series"].as_array_mut().unwrap() {
                let series = text(&input["series"]);
                let (name, labels) = series.split_once('{').unwrap_or((&series, "}"));
                input["series"] = format!("{name}{{env=\"prod\",{labels}").into();
            }
            for check in test["alert_rule_test"].as_array_mut().unwrap() {
                let of_the_job = OF_THE_JOB.contains(&check["alertname"].as_str().unwrap());
                for expected in check["exp_alerts"].as_array_mut().unwrap().iter_mut().filter(|_| !of_the_job) {
                    expected["exp_labels"]["env"] = "prod".into();
                }
            }
        }
        files.push(scratch.path().join(file.file_name()));
        fs::write(files.last().unwrap(), labelled.to_string()).unwrap();
    }
    let tested = Command::new(tool("promtool")).args(["test", "rules"]).args(&files).output().unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}

/// A scrape that fails makes every series of its target stale: what names the newest value alone ends with it.
#[test]
fn no_alert_ends_with_one_failed_scrape() {
    for rule in rules() {
        let expression = text(&rule["expr"]);
        for (name, after) in metrics(&expression) {
            let rest = after.trim_start();
            let rest = rest.strip_prefix('{').and_then(|rest| Some(rest.split_once('}')?.1)).unwrap_or(rest);
            assert!(rest.starts_with('['), "{name} without a window in: {expression}");
        }
    }
}

#[test]
fn rules_speak_of_metrics_that_there_are() {
    let known = known();
    let text = read(&packaging("prometheus/rules.yml"));
    let used: BTreeSet<&str> = metrics(&text).into_iter().map(|(name, _)| name).collect();
    assert!(used.len() > 25, "{used:?}");
    for name in used {
        assert!(known.contains(name), "{name} is no metric of Bowline's");
    }
}

/// The command that the values for kube-prometheus-stack give makes values of the same rules.
#[test]
fn the_chart_takes_the_rules_as_they_are() {
    let folder = packaging("prometheus");
    let values = read(&folder.join("kube-prometheus-stack.yaml"));
    let line = values.lines().find(|line| line.contains("> bowline-rules.yaml")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    fs::copy(folder.join("rules.yml"), scratch.path().join("rules.yml")).unwrap();
    let command = line.trim_start_matches('#');
    let status = Command::new("sh").args(["-c", command]).current_dir(scratch.path()).status().unwrap();
    assert!(status.success(), "{command}");
    let made = yaml(&scratch.path().join("bowline-rules.yaml"));
    assert_eq!(made["additionalPrometheusRulesMap"]["bowline"], yaml(&folder.join("rules.yml")));
}
