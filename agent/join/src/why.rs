//! Why a machine was not let in: the word of a server's refusal, or what came of asking.

use bowline_enroll::Code;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Why asking came to nothing. Kept as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Why {
    /// Nobody gave an answer that counts. Tried first: any word may be a code of a newer server.
    Unanswered(Unanswered),
    /// A server refused it, with a proof.
    Refused(Code),
}

/// Why there is no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unanswered {
    /// Nobody answered.
    NoAnswer,
    /// Somebody answered, and could not prove that it knows the ticket.
    NotProven,
    /// What a server said makes no sense.
    BadAnswer,
    /// A server took the question, and its answer did not come in time.
    Late,
    /// A server's name leads to no address: nobody knows whether it is there.
    Nameless,
    /// This machine itself sent nothing to a server: no route, no address. Nobody knows whether it is there.
    NoWay,
}

impl Why {
    /// Nobody answered.
    pub const NO_ANSWER: Self = Self::Unanswered(Unanswered::NoAnswer);

    /// How long it may stay so before a person hears of it.
    pub(crate) fn patience(self) -> Duration {
        match self {
            // What a person has to change does not come by itself.
            Self::Refused(Code::NotLetIn | Code::OutsideRules | Code::Revoked | Code::BadRequest)
            | Self::Unanswered(Unanswered::NotProven) => Duration::ZERO,
            Self::Refused(Code::NodeIsAlive | Code::ClaimedElsewhere) => Duration::from_secs(180),
            Self::Refused(Code::NotClaimed | Code::Busy | Code::NoQuorum | Code::NotReady | Code::Other(_))
            | Self::Unanswered(
                Unanswered::NoAnswer
                | Unanswered::BadAnswer
                | Unanswered::Late
                | Unanswered::Nameless
                | Unanswered::NoWay,
            ) => Duration::from_secs(300),
        }
    }

    /// What a person can do.
    pub(crate) fn hint(self, name: &str) -> String {
        match self {
            Self::Refused(Code::NotLetIn) => {
                format!("make the ticket anew on a server: `bowline ticket --role agent {name}`")
            }
            Self::Refused(Code::OutsideRules) => "add a rule `[[enroll.allow]]` for it on the servers".into(),
            Self::Refused(Code::Revoked) => {
                "it was revoked as compromised; /usr/share/doc/bowline/CLUSTERS.md tells how the name is used again"
                    .into()
            }
            Self::Refused(Code::NodeIsAlive) => {
                format!("if another machine runs as {name}, stop it or give this one another `node.name`")
            }
            Self::Refused(Code::ClaimedElsewhere) => format!(
                "if that machine runs, stop it or give this one another `node.name`; if it is gone, {name} is free when its claim ends"
            ),
            Self::Refused(code @ Code::Other(_)) => {
                format!("upgrade Bowline here: a newer one on the servers refuses it, for a reason that this one does not know ({code})")
            }
            Self::Unanswered(Unanswered::NotProven) => format!(
                "make sure that all servers have the same cluster key, and that an agent's ticket was made with it, and for this \
                 name: `bowline ticket {name}` on a server prints that"
            ),
            Self::Unanswered(Unanswered::NoAnswer) => {
                "make sure that a server runs and can be reached on TCP 7470; `bowline doctor` tries it".into()
            }
            Self::Unanswered(Unanswered::Nameless) => {
                "see whether the names in `servers` resolve: `getent ahosts NAME`; leave out those that do not exist".into()
            }
            Self::Unanswered(Unanswered::NoWay) => {
                "see whether this machine has an address and a route to each of `servers`: `ip route get ADDRESS`".into()
            }
            Self::Refused(Code::BadRequest | Code::NotClaimed | Code::Busy | Code::NoQuorum | Code::NotReady)
            | Self::Unanswered(Unanswered::BadAnswer) => "see `bowline status` and `bowline doctor` on the servers".into(),
            Self::Unanswered(Unanswered::Late) => {
                "see `bowline status` and `bowline doctor` on the servers; a balancer takes connections for servers that are \
                 not there: name the servers themselves in `servers`"
                    .into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_kept_as_its_word() {
        let own = [
            (Unanswered::NoAnswer, "no-answer"),
            (Unanswered::NotProven, "not-proven"),
            (Unanswered::BadAnswer, "bad-answer"),
            (Unanswered::Late, "late"),
            (Unanswered::Nameless, "nameless"),
            (Unanswered::NoWay, "no-way"),
        ];
        let codes = Code::ALL.map(|code| (Why::Refused(code), code.as_str()));
        for (why, word) in codes.into_iter().chain(own.map(|(one, word)| (Why::Unanswered(one), word))) {
            let text = format!("\"{word}\"");
            assert_eq!(serde_json::to_string(&why).unwrap(), text);
            assert_eq!(serde_json::from_str::<Why>(&text).unwrap(), why);
        }
        let newer: Why = serde_json::from_str("\"something-else\"").unwrap();
        assert_eq!(serde_json::to_string(&newer).unwrap(), "\"something-else\"");
        assert!(newer.hint("kafka-0").contains("(something-else)"));
        // A ticket is for one name: a renamed machine has that of its former one.
        assert!(
            Why::Unanswered(Unanswered::NotProven).hint("kafka-0").contains("`bowline ticket kafka-0` on a server")
        );
        assert!(serde_json::from_str::<Why>("\"Something else\"").is_err(), "it is asked again");
    }
}
