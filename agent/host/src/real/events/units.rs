//! State changes of units, by systemd's D-Bus signals.

use super::super::bus::{self, Bus, CALL, limited};
use super::super::units::object_path;
use bowline_ports::PortError;
use futures::StreamExt;
use futures::stream::select_all;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use zbus::message::Type;
use zbus::{MatchRule, MessageStream};

const AGAIN: Duration = Duration::from_secs(5);

/// Notifies of every change; never ends.
pub(super) async fn watch(bus: &Bus, mut names: watch::Receiver<Vec<String>>, signal: &Notify) {
    let mut told = false;
    loop {
        let units = names.borrow_and_update().clone();
        let changed = async {
            // Without a sender the names stay as they are.
            if names.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let error = tokio::select! {
            () = changed => continue,
            result = follow(bus, &units, signal) => result.err(),
        };
        if let (Some(error), false) = (error, told) {
            tracing::warn!("listening for units: {error}; trying again every {} s", AGAIN.as_secs());
            told = true;
        }
        tokio::time::sleep(AGAIN).await;
        // Nobody tells of anything meanwhile.
        signal.notify_one();
    }
}

/// Listens until the bus goes away.
async fn follow(bus: &Bus, units: &[String], signal: &Notify) -> Result<(), PortError> {
    let connection = bus.connection().await?;
    let manager = bus::manager(&connection).await?;
    bus::subscribe("subscribing to systemd", &manager).await?;
    let mut streams = Vec::new();
    for unit in units {
        for rule in rules(unit).map_err(|e| bus::failed("listening for units", &e))? {
            let stream = MessageStream::for_match_rule(rule, &connection, None);
            streams.push(limited("listening for units", CALL, stream).await?);
        }
    }
    if streams.is_empty() {
        connection.closed().await;
        return Ok(());
    }
    // What happened until now, while nobody listened to all of them.
    signal.notify_one();
    let mut all = select_all(streams);
    while let Some(message) = all.next().await {
        message.map_err(|e| bus::failed("listening for units", &e))?;
        signal.notify_one();
    }
    Ok(())
}

/// The ends of a unit's jobs, and changes of its properties.
fn rules(unit: &str) -> zbus::Result<[MatchRule<'static>; 2]> {
    let systemd = || MatchRule::builder().msg_type(Type::Signal).sender("org.freedesktop.systemd1");
    let jobs =
        systemd().interface("org.freedesktop.systemd1.Manager").member("JobRemoved").arg(2, unit.to_owned()).build()?;
    let properties = systemd()
        .interface("org.freedesktop.DBus.Properties")
        .member("PropertiesChanged")
        .path(object_path(unit))
        .build()?;
    Ok([jobs, properties])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_units() {
        assert_eq!(object_path("k3s.service"), "/org/freedesktop/systemd1/unit/k3s_2eservice");
        assert_eq!(object_path("mnt-my\\x2ddata.mount"), "/org/freedesktop/systemd1/unit/mnt_2dmy_5cx2ddata_2emount");
        assert_eq!(object_path("3a.service"), "/org/freedesktop/systemd1/unit/_33a_2eservice");
        assert!(rules("mnt-my\\x2ddata.mount").is_ok());
    }
}
