//! The key of this machine, by which the servers tell it from another of the same name.

use super::ITEM;
use crate::Action;
use crate::facts::{Facts, Key};
use bowline_engine::Plan;
use bowline_settings::Role;

/// What is noted of it is in nothing else's way, such as on a full disk.
const NOTE: &str = "join/key";

/// False when the plan ends with it. Of a server it has to be known whether it is a member.
pub(super) fn plan(facts: &Facts, role: Role, plan: &mut Plan<Action>) -> bool {
    let (item, action, why) = match &facts.key {
        Key::There => return true,
        Key::Absent => (ITEM, Action::MakeKey, "it tells this machine from another of the same name"),
        Key::Unnoted => (NOTE, Action::NoteKey, "on a copy of its disk it has to be known as another machine's"),
        // It goes with the data: a member asks nobody to be let in, and by another key would be told that its name is another's.
        Key::Anothers if role == Role::Server && facts.joined => {
            (NOTE, Action::NoteKey, "the member of etcd is known by it whose data this machine has")
        }
        Key::Anothers => {
            let why = "the one that is here is another machine's, of whose disk this one's is a copy: by it the servers would \
                       take the two for one";
            plan.step(ITEM, Action::ReplaceKey, why);
            return false;
        }
        Key::Broken(why) => {
            plan.refuse(
                ITEM,
                "use the key of this machine",
                why.clone(),
                "bring it back from a backup, or remove it: then this is another machine to the cluster",
            );
            return false;
        }
    };
    plan.step(item, action, why);
    true
}
