//! Taints, as `kubectl taint` writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::complaint::{Complaint, excerpt, quote};
use crate::labels::{is_key, is_value};
use crate::suggest;

/// The taint that a node is registered with while its volumes, roles and labels
/// are not in place.
pub const STARTUP_TAINT: &str = "bowline/initializing";

/// A taint of a node: `KEY=VALUE:EFFECT`, or `KEY:EFFECT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Taint {
    /// The key, valid by Kubernetes's rules for labels.
    pub key: String,
    /// The value, valid by the same rules; may be empty.
    pub value: String,
    /// What it does to pods that do not tolerate it.
    pub effect: Effect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Effect {
    /// They are not scheduled here.
    NoSchedule,
    /// They are scheduled here only where there is nowhere else.
    PreferNoSchedule,
    /// Also those that run already are evicted.
    NoExecute,
}

impl Effect {
    /// The name as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Taint {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let form = "expected \"key=value:NoSchedule\" or \"key:NoSchedule\"";
        let wrong = |why: &str| Complaint::new(format!("{} is not a taint: {why}", quote(text)));
        let (rest, effect) = text.rsplit_once(':').ok_or_else(|| wrong(form))?;
        let effects = [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute];
        let Some(effect) = effects.into_iter().find(|known| known.as_str() == effect) else {
            let complaint = Complaint::new(format!(
                "{} is not a taint effect: there are NoSchedule, PreferNoSchedule and NoExecute",
                quote(effect)
            ));
            let plain = effect.to_lowercase();
            let near = effects.into_iter().find(|known| {
                let known = known.as_str().to_lowercase();
                suggest::within(&plain, &known, suggest::limit(&known))
            });
            return Err(match near {
                Some(near) => complaint.suggest(format!("did you mean {near}?")),
                None => complaint,
            });
        };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        if !is_key(key) {
            return Err(Complaint::new(format!("`{}` is not a taint key: {form}", excerpt(key))));
        }
        if !is_value(value) {
            return Err(wrong("its value has at most 63 letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect })
    }
}

impl TryFrom<String> for Taint {
    type Error = Complaint;

    fn try_from(text: String) -> Result<Self, Complaint> {
        text.parse()
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{}", self.effect)
    }
}

impl Serialize for Taint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A taint that a person or a rule may ask for.
pub(crate) fn check(text: &str) -> Result<Taint, Complaint> {
    let taint: Taint = text.parse()?;
    if taint.key == STARTUP_TAINT {
        return Err(Complaint::new(format!("the taint `{STARTUP_TAINT}` is Bowline's own"))
            .suggest("set `startup-taint` in [cluster]"));
    }
    if taint.key.split('/').next() == Some("node.kubernetes.io") {
        return Err(Complaint::new(format!("the taint `{}` is Kubernetes's own, for the state of nodes", taint.key))
            .suggest("remove it"));
    }
    Ok(taint)
}

#[cfg(test)]
mod tests {
    use super::{Effect, Taint, check};

    #[test]
    fn as_kubectl_writes_them() {
        for text in ["a:NoSchedule", "example.com/pool=gpu-1:NoExecute", "a=b:PreferNoSchedule"] {
            let taint: Taint = text.parse().unwrap();
            assert_eq!(taint.to_string(), text);
        }
        assert_eq!("a=:NoSchedule".parse::<Taint>().unwrap().to_string(), "a:NoSchedule");
        assert_eq!("a:NoExecute".parse::<Taint>().unwrap().effect, Effect::NoExecute);
        for text in
            ["", "a", ":NoSchedule", "a:", "a:noschedule", "a=b c:NoSchedule", "a=b=c:NoSchedule", "-:NoExecute"]
        {
            assert!(text.parse::<Taint>().is_err(), "{text}");
        }
        let near = "a:noSchedule".parse::<Taint>().unwrap_err();
        assert_eq!(near.suggestion.as_deref(), Some("did you mean NoSchedule?"));
    }

    #[test]
    fn some_have_an_owner() {
        assert!(check("bowline/initializing:NoSchedule").is_err());
        assert!(check("node.kubernetes.io/unreachable:NoExecute").is_err());
        assert!(check("node-role.kubernetes.io/kafka=true:NoSchedule").is_ok());
    }
}
