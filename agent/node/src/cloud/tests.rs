//! What each cloud's answers mean (`tests/clouds` says where they are from), and what is known from several sources.

use super::table::{CLOUDS, Cloud, Document, Words};
use super::*;
use bowline_ports::MetadataAnswer;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Recorded {
    answers: BTreeMap<String, String>,
}

fn recorded(name: &str) -> (&'static Cloud, Recorded) {
    let text = match name {
        "hetzner" => include_str!("../../../../tests/clouds/hetzner.toml"),
        "oracle" => include_str!("../../../../tests/clouds/oracle.toml"),
        "aws" => include_str!("../../../../tests/clouds/aws.toml"),
        "gce" => include_str!("../../../../tests/clouds/gce.toml"),
        "azure" => include_str!("../../../../tests/clouds/azure.toml"),
        _ => include_str!("../../../../tests/clouds/digitalocean.toml"),
    };
    (CLOUDS.iter().find(|cloud| cloud.name == name).unwrap(), toml::from_str(text).unwrap())
}

/// The words that these answers are, without those that are not there or make no sense.
fn words(cloud: &Cloud, recorded: &Recorded) -> Words {
    let mut words = Words::default();
    let hear = |documents: &[Document], words: &mut Words| {
        for document in documents {
            let Some(body) = recorded.answers.get(document.path.as_ref()) else { continue };
            if let Ok(value) = document.read(&MetadataAnswer { status: 200, body: body.clone() }) {
                words.0.insert(document.name.to_string(), value);
            }
        }
    };
    hear(cloud.documents, &mut words);
    let more = (cloud.more)(&words);
    hear(&more, &mut words);
    words
}

/// Region, zone, instance id, instance type, public address.
fn said(cloud: &Cloud, recorded: &Recorded) -> [String; 5] {
    let facts = (cloud.facts)(&words(cloud, recorded));
    assert_eq!(facts.cloud, cloud.name);
    let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let public = facts.public_ipv4.map(|address| address.to_string());
    [or(facts.region), or(facts.zone), facts.instance_id, or(facts.instance_type), or(public)]
}

fn networks(name: &str) -> Vec<String> {
    let (cloud, recorded) = recorded(name);
    let all = (cloud.networks)(&words(cloud, &recorded));
    let line = |one: &Network| {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        format!("{} {} {}", one.address, or(&one.name), or(&one.mac))
    };
    all.iter().map(line).collect()
}

#[test]
fn what_each_cloud_says_of_a_machine() {
    let of = |name: &str| {
        let (cloud, recorded) = recorded(name);
        said(cloud, &recorded)
    };
    assert_eq!(of("hetzner"), ["fsn1", "fsn1-dc14", "42424242", "-", "203.0.113.7"]);
    let ocid = "ocid1.instance.oc1.phx.anyhqljtniwq6syc3nex55sep5w34qbwmw6example";
    assert_eq!(of("oracle"), ["phx", "PHX-AD-1", ocid, "VM.Standard.A1.Flex", "-"]);
    assert_eq!(of("aws"), ["eu-central-1", "eu-central-1a", "i-0abcdef1234567890", "t3.micro", "203.0.113.8"]);
    assert_eq!(of("gce"), ["europe-west1", "europe-west1-b", "4520031799277581759", "n2-standard-2", "203.0.113.9"]);
    let uuid = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
    assert_eq!(of("azure"), ["westus2", "westus2-1", uuid, "Standard_D2s_v3", "203.0.113.10"]);
    assert_eq!(of("digitalocean"), ["nyc3", "nyc3", "22532410", "-", "203.0.113.11"]);
}

#[test]
fn what_each_cloud_says_of_private_networks() {
    assert_eq!(networks("hetzner"), ["10.128.0.2 backup 86:00:00:98:40:6d", "10.0.1.10 trading 86:00:00:98:40:6e"]);
    assert_eq!(networks("oracle"), ["10.0.0.230 - 02:00:17:05:d1:db", "10.0.1.10 - 00:00:17:02:2b:b1"]);
    let second = ["172.31.10.5 - 06:17:04:d7:26:09", "10.0.1.10 - 06:17:04:d7:26:0a", "10.0.1.11 - 06:17:04:d7:26:0a"];
    assert_eq!(networks("aws"), second);
    assert_eq!(networks("gce"), ["10.132.0.7 default 42:01:0a:84:00:07", "10.0.1.10 trading 42:01:0a:00:01:0a"]);
    assert_eq!(networks("azure"), ["10.0.1.10 - 00:11:aa:ff:bb:22"]);
    assert_eq!(networks("digitalocean"), ["10.0.1.10 - 04:01:57:d1:9e:02"]);
}

/// With one answer after the other missing, empty, or something else altogether, the others are understood all the same.
#[test]
fn every_answer_may_be_missing_or_strange() {
    for cloud in &CLOUDS {
        let (_, whole) = recorded(cloud.name);
        for path in whole.answers.keys() {
            let (_, mut part) = recorded(cloud.name);
            part.answers.remove(path);
            let without = said(cloud, &part);
            for strange in ["{}", "[]", "[1, {\"ip\": 5, \"privateIp\": null}]", "[[]]", "\"\""] {
                part.answers.insert(path.clone(), strange.into());
                let _ = (cloud.networks)(&words(cloud, &part));
                let _ = said(cloud, &part);
            }
            let lost = said(cloud, &whole).iter().zip(&without).filter(|(whole, without)| whole != without).count();
            assert!(lost <= 2 || cloud.name == "azure", "{path}: {without:?}");
        }
    }
}

#[test]
fn texts_and_lists_without_content() {
    let (hetzner, mut answers) = recorded("hetzner");
    for nothing in ["", "[]\n", "null"] {
        answers.answers.insert("/hetzner/v1/metadata/private-networks".into(), nothing.into());
        assert!((hetzner.networks)(&words(hetzner, &answers)).is_empty(), "{nothing:?}");
    }
    answers.answers.insert("/hetzner/v1/metadata/public-ipv4".into(), "\n".into());
    answers.answers.insert("/hetzner/v1/metadata/instance-id".into(), "\"7\"".into());
    assert_eq!(said(hetzner, &answers), ["fsn1", "fsn1-dc14", "7", "-", "-"]);
}

/// A page of somebody else's, such as of a hotspot or a proxy, is never taken for metadata, and so never kept.
#[test]
fn a_web_page_is_no_metadata() {
    for page in ["<html>\n\t{[", "<html><body>log in, please</body></html>", "moved", "404 page not found"] {
        for document in CLOUDS.iter().flat_map(|cloud| cloud.documents) {
            let read = document.read(&MetadataAnswer { status: 200, body: page.into() });
            let word = page == "moved" && matches!(document.form, super::table::Form::Text);
            assert_eq!(read.is_ok(), word, "{}: {page:?}", document.path);
            let wanted = format!("169.254.169.254: its answer for {} makes no sense", document.path);
            assert!(read.is_ok() || read.unwrap_err().message == wanted);
        }
    }
}

#[test]
fn places_are_spelled_as_the_clouds_own_controllers_do() {
    let place = |(region, zone): spell::Place| format!("{} {}", region.unwrap_or_default(), zone.unwrap_or_default());
    assert_eq!(place(spell::hetzner(Some("hel1-dc2"))), "hel1 hel1-dc2");
    assert_eq!(place(spell::hetzner(Some("nbg1"))), "nbg1 nbg1-dc3", "no datacenters any more");
    assert_eq!(place(spell::hetzner(Some("new1"))), "new1 new1");
    assert_eq!(place(spell::hetzner(None)), " ");
    assert_eq!(spell::oracle("Uocm:UK-LONDON-1-AD-2"), "UK-LONDON-1-AD-2");
    assert_eq!(place(spell::google(Some("projects/1/zones/us-east1-c"))), "us-east1 us-east1-c");
    let azure = |number: Option<&str>| spell::azure(Some("WestUS2"), number.map(Into::into), Some("3".into()));
    assert_eq!(place(azure(Some("1"))), "westus2 westus2-1");
    assert_eq!(place(azure(None)), "westus2 3");
}

#[test]
fn what_one_source_does_not_say_another_does() {
    let first = CloudFacts { instance_id: "42".into(), zone: Some("a".into()), ..CloudFacts::default() };
    let second = CloudFacts { zone: Some("b".into()), region: Some("r".into()), ..first.clone() };
    let both = first.clone().or(Some(&second));
    assert_eq!((both.zone.as_deref(), both.region.as_deref()), (Some("a"), Some("r")));
    assert_eq!(first.clone().or(None), first);
}

#[test]
fn what_an_older_bowline_kept_is_read_and_is_of_no_machine() {
    let old = br#"{"cloud":"hetzner","instance_id":"42","region":null,"zone":"fsn1-dc14","public_ipv4":null}"#;
    let kept: Kept = serde_json::from_slice(old).unwrap();
    assert_eq!((kept.facts.zone.as_deref(), kept.machine), (Some("fsn1-dc14"), None));
}
