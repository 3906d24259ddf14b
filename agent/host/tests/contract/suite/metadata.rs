//! The cloud's metadata service.

use super::Fixture;
use bowline_ports::{ErrorKind, MetadataAsk};

fn ask(paths: &[&str]) -> MetadataAsk {
    MetadataAsk { header: None, token: None, paths: paths.iter().map(ToString::to_string).collect() }
}

pub(crate) async fn without_a_metadata_service_there_is_an_error(fixture: &impl Fixture) {
    let error = fixture.host().metadata(&ask(&["/id"])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.message.contains(": no connection: "), "{error}");
}

pub(crate) async fn a_metadata_service_answers_in_order_and_is_not_asked_again_at_once(fixture: &impl Fixture) {
    fixture.metadata(&[("/id", "42"), ("/zone?full=true", "fsn1-dc14\n")]);
    let answers = fixture.host().metadata(&ask(&["/zone?full=true", "/nothing", "/id"])).await.unwrap();
    let told: Vec<_> = answers.iter().map(|answer| (answer.status, answer.body.as_str())).collect();
    assert_eq!((told[0], told[1].0, told[2]), ((200, "fsn1-dc14\n"), 404, (200, "42")));
    fixture.metadata(&[("/id", "43")]);
    let again = fixture.host().metadata(&ask(&["/id"])).await.unwrap();
    assert_eq!(again[0].body, "42", "remembered");
}
