//! Which cloud this is, and what its metadata service says.

use super::Said;
use super::table::{CLOUDS, Cloud, Document, Form, Words};
use bowline_ports::{ErrorKind, Inspect, METADATA, MetadataAnswer, MetadataAsk, PortError};
use serde_json::Value;
use std::path::Path;

/// What the firmware says of the machine, one value a file.
const DMI: &str = "/sys/class/dmi/id";

/// A value of the firmware's; `None` where it is not there, or not for us: containers see their host's, and not all of it.
async fn dmi(host: &dyn Inspect, name: &str) -> Result<Option<String>, PortError> {
    let text = match host.read(&Path::new(DMI).join(name)).await {
        Ok(file) => file.map(|file| file.text().trim().to_string()),
        Err(error) if error.kind == ErrorKind::Denied => None,
        Err(error) => return Err(error),
    };
    Ok(text.filter(|text| !text.is_empty()))
}

/// A value that stands in two of the firmware's files.
fn same(one: Option<String>, other: Option<String>) -> Option<String> {
    one.filter(|one| other.is_some_and(|other| one.eq_ignore_ascii_case(&other)))
}

/// The cloud that the firmware names; `None` on every other machine, which is asked nothing.
pub(crate) async fn detect(host: &dyn Inspect) -> Result<Option<&'static Cloud>, PortError> {
    for cloud in &CLOUDS {
        for (name, beginning) in cloud.dmi {
            let text = match name.split_once('=') {
                Some((one, other)) => same(dmi(host, one).await?, dmi(host, other).await?),
                None => dmi(host, name).await?,
            };
            let text = text.unwrap_or_default();
            if text.get(..beginning.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(beginning)) {
                return Ok(Some(cloud));
            }
        }
    }
    Ok(None)
}

/// Asks the cloud's metadata service for all that is of use.
pub(crate) async fn ask(host: &dyn Inspect, cloud: &Cloud) -> Result<Said, PortError> {
    let mut words = Words::default();
    hear(host, cloud, cloud.documents, &mut words).await?;
    let more = (cloud.more)(&words);
    if !more.is_empty() {
        hear(host, cloud, &more, &mut words).await?;
    }
    let facts = (cloud.facts)(&words).sensible();
    if facts.instance_id.is_empty() {
        return Err(unusable("it does not say which machine this is"));
    }
    Ok(Said { facts, networks: (cloud.networks)(&words) })
}

async fn hear(host: &dyn Inspect, cloud: &Cloud, documents: &[Document], words: &mut Words) -> Result<(), PortError> {
    let paths = documents.iter().map(|document| document.path.to_string()).collect();
    let answers = host.metadata(&MetadataAsk { header: cloud.header, token: cloud.token, paths }).await?;
    for (document, answer) in documents.iter().zip(answers) {
        match answer.status {
            200 => words.0.insert(document.name.to_string(), document.read(&answer)?),
            // There is no such thing for this machine: no public address, no private network.
            404 => None,
            status => return Err(unusable(&format!("HTTP {status} for {}", document.path))),
        };
    }
    Ok(())
}

impl Document {
    pub(super) fn read(&self, answer: &MetadataAnswer) -> Result<Value, PortError> {
        let body = answer.body.as_str();
        // What is not of the form is from somebody else, such as a proxy with a page of its own, and would be kept.
        let value = match self.form {
            Form::Text => Some(body.trim().trim_matches('"')).filter(|text| is_plain(text)).map(Value::from),
            Form::Json => serde_json::from_str(body).ok(),
            Form::YamlList if body.trim().is_empty() => Some(Value::Null),
            Form::YamlList => {
                serde_saphyr::from_str(body).ok().filter(|value: &Value| value.is_array() || value.is_null())
            }
        };
        value.ok_or_else(|| unusable(&format!("its answer for {} makes no sense", self.path)))
    }
}

/// Words without spaces, one a line.
fn is_plain(text: &str) -> bool {
    text.len() <= 1024 && text.chars().all(|c| (c.is_ascii_graphic() && !"<>{}".contains(c)) || c == '\n')
}

fn unusable(cause: &str) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{}: {cause}", METADATA.ip()))
}
