//! Claims as the API has them: somebody may have written one by hand.

use bowline_enroll::Code;
use bowline_enroll::claim::{Claim, Refused};
use std::collections::BTreeMap;

/// Whether it is a claim.
pub fn check(data: &[u8]) -> bool {
    let Ok(fields) = serde_json::from_slice::<BTreeMap<String, String>>(data) else { return false };
    let claim = match Claim::from_data(&fields) {
        Ok(claim) => claim,
        Err(why) => {
            assert!(why.len() < 100 && why.contains("claim"), "{why}");
            return false;
        }
    };
    assert_eq!(Claim::from_data(&claim.to_data()).as_ref(), Ok(&claim));
    assert!(!Claim::object_name(&claim.name).contains('/'));
    let attempt = |at| Refused { at, from: claim.from, code: Code::NodeIsAlive, machine: "0".repeat(12) };
    if let Some(noted) = claim.with_refused(attempt(claim.issued)) {
        assert!(noted.refused.len() <= claim.refused.len().max(8));
        assert!(noted.with_refused(attempt(claim.issued)).is_none(), "it is written down once a minute");
        assert_eq!(Claim::from_data(&noted.to_data()).as_ref(), Ok(&noted));
    }
    let revoked = claim.revoke(claim.issued, vec!["k".into()]);
    assert!(revoked.expires().is_none() && !revoked.is_held_by(&claim.machine_key, claim.role));
    true
}
