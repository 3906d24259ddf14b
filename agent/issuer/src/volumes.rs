//! Persistent volumes, kept: what somebody deleted is made again, and what a claim has left is given to the next one. Nobody
//! tells of either, so that they are looked at more often than the rest, by one read.

use crate::Issuer;
use crate::read::each;
use bowline_enroll::claim::Claim;
use bowline_enroll::persistent::{self, Found, Wish, read_volume};
use bowline_enroll::{Role, sweep};
use bowline_ports::{Objects, PortError};
use std::sync::PoisonError;

/// Whose volumes a decision is about.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// Those that a node wishes for now, or did.
    Wishes(&'a [Wish]),
    /// Also those of a machine that is no more.
    Anybody,
}

/// Everything about the volumes that a node wishes for, did, or has left.
pub(crate) async fn of(objects: &dyn Objects, claim: Option<&Claim>, whose: Of<'_>) -> Result<Found, PortError> {
    let wishes = match whose {
        Of::Wishes(wishes) if wishes.is_empty() && claim.is_none_or(has_none) => return Ok(Found::default()),
        Of::Wishes(wishes) => wishes,
        Of::Anybody => &[],
    };
    let had = claim.iter().flat_map(|claim| &claim.persistent);
    let wishes: Vec<Wish> = wishes.iter().chain(had).cloned().collect();
    let get = |path: String| async move { objects.get(&path).await };
    persistent::gather(managed(objects).await?, &wishes, get).await
}

pub(crate) async fn managed(objects: &dyn Objects) -> Result<Found, PortError> {
    let mut found = Found::default();
    each(objects, &persistent::managed(), |object| found.volumes.push(read_volume(object))).await?;
    Ok(found)
}

fn has_none(claim: &Claim) -> bool {
    claim.persistent.is_empty() && claim.forgotten.is_empty()
}

impl<O: Objects> Issuer<O> {
    /// Remembers whose are to be looked after.
    pub(crate) fn remember<'a>(&self, claims: impl Iterator<Item = &'a Claim>) {
        let kept: Vec<Claim> = claims.filter(|claim| !has_none(claim)).cloned().collect();
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Whether there are volumes to look after.
    pub fn has_volumes(&self) -> bool {
        !self.kept.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Looks after them, by the claims of the last sweep; where something is to be done, all is looked at again.
    ///
    /// # Errors
    /// The first that went wrong; the next look does what is left.
    pub async fn look_after_volumes(&self, unix: u64) -> Result<(), PortError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = managed(&self.objects).await?;
        let mut first = Ok(());
        for claim in kept {
            let (name, role): (_, Role) = (claim.name.clone(), claim.role);
            if !sweep::keeps_volumes(&claim, &found, &self.settings.allow).is_empty() {
                first = first.and(self.sweep_one((role, &name), unix).await);
            }
        }
        first
    }
}
