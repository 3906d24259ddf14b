//! The shipped dashboard: every query is run by a real Prometheus that has recorded what Bowline tells, and so are the
//! rules and the scrape configuration. (tests/grafana holds it against Grafana's schema.)

#![allow(clippy::unwrap_used, reason = "a test may end so")]

use bowline_cli::prometheus::{Prometheus, known, metrics, packaging, read, recording};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

/// A busy machine takes longer than one that has nothing else to do; only what never comes takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

fn dashboard() -> Value {
    serde_json::from_str(&read(&packaging("grafana/bowline.json"))).unwrap()
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().unwrap().clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn it_can_be_read() {
    let whole = dashboard();
    assert!(whole["id"].is_null(), "an id belongs to one Grafana");
    assert_eq!(whole["uid"], "bowline-fleet");
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    let variables: Vec<_> = list(&whole["templating"]["list"]).iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["datasource", "node", "mountpoint"]);

    let (mut ids, mut places) = (BTreeSet::new(), Vec::<(String, [u64; 4])>::new());
    for panel in panels() {
        let title = panel["title"].as_str().unwrap().to_string();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is there twice");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} stands out of the grid");
        for (other, [x2, y2, w2, h2]) in &places {
            let apart = x + w <= *x2 || x2 + w2 <= x || y + h <= *y2 || y2 + h2 <= y;
            assert!(apart, "{title} lies over {other}");
        }
        places.push((title.clone(), [x, y, w, h]));
        let kind = panel["type"].as_str().unwrap();
        assert!(["row", "stat", "table", "timeseries", "bargauge"].contains(&kind), "{title} is a {kind}");
        if kind == "row" {
            continue;
        }
        assert_eq!(panel["datasource"], source, "{title}");
        assert!(panel["description"].as_str().unwrap().len() > 10, "{title} does not say what it shows");
        let mut references = BTreeSet::new();
        for query in list(&panel["targets"]) {
            assert_eq!(query["datasource"], source, "{title}");
            assert!(
                references.insert(query["refId"].as_str().unwrap().to_string()),
                "{title}: one refId for two queries"
            );
        }
        assert!(!references.is_empty(), "{title} asks for nothing");
        // A column that is named is one that a query has.
        for change in list(&panel["transformations"]) {
            for column in change["options"]["renameByName"].as_object().into_iter().flatten().map(|(name, _)| name) {
                let of = column.strip_prefix("Value #");
                assert!(of.is_none_or(|of| references.contains(of)), "{title} renames {column}");
            }
        }
    }
    assert!(places.len() > 30, "{places:?}");
}

#[test]
fn it_asks_for_metrics_that_there_are() {
    let known = known();
    let text = read(&packaging("grafana/bowline.json"));
    let asked: BTreeSet<&str> = metrics(&text).into_iter().map(|(name, _)| name).collect();
    for name in &asked {
        assert!(known.contains(*name), "{name} is no metric of Bowline's");
    }
    // And of what fills disks nothing is left out.
    let told = read("recorded/pressure.prom".as_ref());
    for (name, _) in metrics(&told) {
        assert!(asked.contains(name), "{name} is nowhere in the dashboard");
    }
}

/// The configuration of the values for kube-prometheus-stack, with what the discovery gives in its place: a Node with
/// the port of its kubelet. Debian's Prometheus was built without Kubernetes.
fn chart() -> Value {
    let values: Value = serde_saphyr::from_str(&read(&packaging("prometheus/kube-prometheus-stack.yaml"))).unwrap();
    let mut jobs = values["prometheus"]["prometheusSpec"]["additionalScrapeConfigs"].clone();
    let job = jobs[0].as_object_mut().unwrap();
    assert_eq!(job.remove("kubernetes_sd_configs"), Some(json!([{"role": "node"}])));
    let nodes = [("127.0.0.87:10250", "kafka-0"), ("[::1]:10250", "kafka-1")]
        .map(|(address, name)| json!({"targets": [address], "labels": {"__meta_kubernetes_node_name": name}}));
    job.insert("static_configs".into(), json!(nodes));
    jobs
}

/// With everything chosen, as Grafana puts it in; one of the recorded mount points has a newline in its name.
fn filled_in(query: &str) -> String {
    let mut text = query.replace("$__rate_interval", "4m");
    for variable in list(&dashboard()["templating"]["list"]) {
        if let Some(everything) = variable["allValue"].as_str() {
            text = text.replace(&format!("${}", variable["name"].as_str().unwrap()), everything);
        }
    }
    assert!(!text.contains('$'), "a variable that is not there: {text}");
    text
}

/// Of two nodes: one is sure of what is far and not of what is near, the other of nothing.
fn forecasts(at: u64) -> String {
    let mut text = String::new();
    for (instance, mountpoint, full, evicts, confidence) in
        [("lone-0", "/", 600, 300, 0.2), ("lone-0", "/data", 500_000, 400_000, 0.9), ("lone-1", "/", 600, 300, 0.4)]
    {
        let of = format!("mountpoint=\"{mountpoint}\",instance=\"{instance}\",job=\"bowline\"");
        for (name, seconds, signal) in [("full", full, ""), ("eviction", evicts, "signal=\"nodefs.available\",")] {
            text += &format!("bowline_filesystem_{name}_seconds{{{signal}{of}}} {seconds} {at}\n");
            text += &format!("bowline_filesystem_{name}_confidence{{{signal}{of}}} {confidence} {at}\n");
        }
    }
    text
}

#[test]
fn every_query_and_every_rule_is_run() {
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let nodes = ["control-0", "kafka-0", "kafka-1"];
    let mut samples = recording(&nodes, end);
    // What the rules leave behind when they fire.
    let alert =
        r#"ALERTS{alertname="BowlineFilesystemFilling",alertstate="firing",severity="critical",instance="kafka-0""#;
    for minute in 0..=120 {
        samples += &format!("{alert},job=\"bowline\",mountpoint=\"/\"}} 1 {}\n", end - (120 - minute) * 60);
    }
    for minute in 0..=120 {
        samples += &forecasts(end - (120 - minute) * 60);
    }
    let config = json!({
        "global": {"scrape_interval": "30s", "evaluation_interval": "1s"},
        "rule_files": [packaging("prometheus/rules.yml")],
        "scrape_configs": chart(),
    });
    let prometheus = Prometheus::start(&config.to_string(), &samples);

    let (start, end) = ((end - 7200).to_string(), end.to_string());
    let at = [("time", end.as_str())];
    let over = [("start", start.as_str()), ("end", end.as_str()), ("step", "60")];
    let run = |query: &str, range: bool| {
        let (path, times) = if range { ("query_range", &over[..]) } else { ("query", &at[..]) };
        let answer = prometheus.ask(path, &[&[("query", query)][..], times].concat());
        answer.map(|answer| list(&answer["result"]).to_vec())
    };
    // Nothing is there that was not recorded.
    assert_eq!(run("bowline_filesystem_fill_seconds", true), Ok(vec![]));

    for (title, instance, wanted) in [
        ("Next full in", "lone-0", "500000"),
        ("Next eviction in", "lone-0", "400000"),
        ("Next full in", "lone-1", "+Inf"),
        ("Next eviction in", "lone-1", "+Inf"),
    ] {
        let panel = panels().into_iter().find(|panel| panel["title"] == title).unwrap();
        let query = panel["targets"][0]["expr"].as_str().unwrap().replace("$node", instance);
        let answer = run(&query, false).unwrap();
        assert_eq!((answer.len(), &answer[0]["value"][1]), (1, &json!(wanted)), "{query}");
    }

    let mut faults = Vec::new();
    let mut count = 0;
    for panel in panels() {
        for query in list(&panel["targets"]) {
            let expression = filled_in(query["expr"].as_str().unwrap());
            let range = query["range"] == true;
            assert_ne!(query["instant"], query["range"], "{expression}");
            match run(&expression, range) {
                Ok(series) if !series.is_empty() => count += 1,
                answer => faults.push(format!("{} {}: {expression}: {answer:?}", panel["title"], query["refId"])),
            }
        }
    }
    for variable in list(&dashboard()["templating"]["list"]).iter().filter(|variable| variable["type"] == "query") {
        let query = filled_in(variable["query"]["query"].as_str().unwrap());
        assert_eq!(variable["definition"], variable["query"]["query"]);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (series, label) = inner.rsplit_once(", ").unwrap();
        let path = format!("label/{label}/values");
        let values = prometheus.ask(&path, &[("match[]", series), ("start", &start), ("end", &end)]);
        if values.as_ref().is_ok_and(|values| !list(values).is_empty()) {
            count += 1;
        } else {
            faults.push(format!("variable {}: {query}: {values:?}", variable["name"]));
        }
    }
    assert!(faults.is_empty(), "no data:\n{}", faults.join("\n"));
    assert!(count > 60, "{count} queries");

    every_rule_is_evaluated(&prometheus);
    nodes_are_scraped_at_bowlines_port(&prometheus);
}

/// What can be read may still fail on real series, when several match where one has to.
fn every_rule_is_evaluated(prometheus: &Prometheus) {
    let begun = Instant::now();
    loop {
        let groups = prometheus.ask("rules", &[]).unwrap();
        let rules: Vec<Value> =
            list(&groups["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect();
        assert!(rules.len() > 30, "{groups}");
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{}: {}", rule["name"], rule["lastError"]);
        }
        if rules.iter().all(|rule| rule["health"] == "ok") {
            let pending = |name: &str| {
                let of = rules.iter().filter(|rule| rule["name"] == name);
                of.flat_map(|rule| list(&rule["alerts"])).count()
            };
            // As in the golden exposition: / will be full in two hours on each of the three nodes, a warning and grave as well.
            assert_eq!(pending("BowlineFilesystemFilling"), 6);
            assert_eq!(pending("BowlineInodesRunningOut"), 0);
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not evaluated: {groups}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// By the addresses and names that Kubernetes gives; nobody answers there.
fn nodes_are_scraped_at_bowlines_port(prometheus: &Prometheus) {
    let begun = Instant::now();
    let mut found: Vec<(Value, Value)> = loop {
        let targets = prometheus.ask("targets", &[]).unwrap();
        let active = list(&targets["activeTargets"]);
        if !active.is_empty() {
            break active.iter().map(|target| (target["scrapeUrl"].clone(), target["labels"].clone())).collect();
        }
        assert!(begun.elapsed() < PATIENCE, "no targets: {targets}");
        std::thread::sleep(Duration::from_millis(200));
    };
    found.sort_by_key(|(url, _)| url.to_string());
    let label = |name: &str| json!({"instance": name, "job": "bowline"});
    let wanted = [("http://127.0.0.87:9787/metrics", "kafka-0"), ("http://[::1]:9787/metrics", "kafka-1")];
    assert_eq!(found, wanted.map(|(url, name)| (json!(url), label(name))));
}
