//! What cloud-init kept of the cloud's answers.

use bowline_node::CloudFacts;

/// Whether it tells of a cloud.
pub fn check(data: &[u8]) -> bool {
    let Some(facts) = CloudFacts::from_cloud_init(data) else { return false };
    let texts = [&facts.instance_type, &facts.region, &facts.zone];
    for text in texts.into_iter().flatten() {
        assert!(!text.trim().is_empty(), "a fact that says nothing is none: {facts:?}");
        assert!(text != "None", "a word for nothing: {facts:?}");
    }
    let kept = serde_json::to_vec(&facts).unwrap();
    assert_eq!(serde_json::from_slice::<CloudFacts>(&kept).unwrap(), facts);
    assert_eq!(facts.clone().or(Some(&facts)), facts);
    true
}
