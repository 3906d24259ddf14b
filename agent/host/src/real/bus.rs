//! The connection to the system bus, and the parts of systemd's interfaces that Bowline uses. No other module
//! knows zbus.

use bowline_ports::{ErrorKind, PortError};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use zbus::Connection;
use zbus::proxy::CacheProperties;
use zbus::wire::{ObjectPath, OwnedObjectPath, OwnedVariant, Signature, Type, Variant};

/// The interface by which every object tells of itself.
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long a call may take.
pub(crate) const CALL: Duration = Duration::from_secs(10);

/// An entry of `ListUnitsByPatterns`: name, description, load, active, sub, followed, path, job.
pub(crate) type ListedUnit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// What `EnableUnitFiles` changed: kind, link, target.
pub(crate) type LinkChange = (String, String, String);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(crate) trait Manager {
    /// Asks for signals.
    fn subscribe(&self) -> zbus::Result<()>;
    /// Reads the unit files again.
    fn reload(&self) -> zbus::Result<()>;
    /// The object of a unit that systemd knows.
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    /// The object of a unit, read from its file if need be.
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    /// Queues a start.
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// Queues a restart.
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// Queues a stop.
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    /// Makes a unit without a file and queues its start.
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        aux: &[(&str, Vec<(&str, Variant<'_>)>)],
    ) -> zbus::Result<OwnedObjectPath>;
    /// Forgets a failure.
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    /// Enables units.
    fn enable_unit_files(&self, files: &[&str], runtime: bool, force: bool) -> zbus::Result<(bool, Vec<LinkChange>)>;
    /// Whether a unit is enabled, read from the links on disk: a unit's own property is as old as its last reload.
    fn get_unit_file_state(&self, name: &str) -> zbus::Result<String>;
    /// Units in given states with names that match.
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> zbus::Result<Vec<ListedUnit>>;
    /// A job ended.
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

/// The system bus, connected when it is needed and again after it went away.
#[derive(Debug, Default)]
pub(crate) struct Bus(Mutex<Option<Connection>>);

impl Bus {
    /// A living connection.
    pub(crate) async fn connection(&self) -> Result<Connection, PortError> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = || lock().clone().filter(|connection| !connection.is_closed());
        if let Some(connection) = kept() {
            return Ok(connection);
        }
        // Nobody waits for another here: of several that connect at once, the first connection is kept.
        let connection = limited("connecting to the system bus", CALL, Connection::system()).await?;
        Ok(match kept() {
            Some(first) => first,
            None => lock().insert(connection).clone(),
        })
    }

    /// systemd's manager object.
    pub(crate) async fn manager(&self) -> Result<ManagerProxy<'static>, PortError> {
        let connection = self.connection().await?;
        manager(&connection).await
    }

    /// What is looked at of a unit. systemd tells a hundred things of each, which takes the most of a look at many units: one answer,
    /// and the rest is passed over where it lies.
    pub(crate) async fn unit(
        &self,
        what: &str,
        path: &ObjectPath<'_>,
    ) -> Result<HashMap<String, OwnedVariant>, PortError> {
        const INTERFACE: &str = "org.freedesktop.systemd1.Unit";
        let connection = self.connection().await?;
        let service = Some("org.freedesktop.systemd1");
        let call = connection.call_method(service, path, Some(PROPERTIES), "GetAll", &(INTERFACE,));
        let answer = limited(what, CALL, call).await?;
        let read = answer.body().deserialize_ignore_signature::<OfUnit>();
        read.map(|OfUnit(properties)| properties).map_err(|e| failed(what, &e))
    }

    /// One property of an object.
    pub(crate) async fn property(
        &self,
        what: &str,
        service: &'static str,
        path: &ObjectPath<'_>,
        interface: &str,
        property: &str,
    ) -> Result<OwnedVariant, PortError> {
        let connection = self.connection().await?;
        let names = (interface, property);
        let call = connection.call_method(Some(service), path, Some(PROPERTIES), "Get", &names);
        let answer = limited(what, CALL, call).await?;
        answer.body().deserialize().map_err(|e| failed(what, &e))
    }
}

/// Properties of units that are looked at.
const OF_UNIT: [&str; 15] = [
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "FragmentPath",
    "DropInPaths",
    "NeedDaemonReload",
    "Job",
    "InactiveExitTimestampMonotonic",
    "ActiveExitTimestampMonotonic",
    "InactiveEnterTimestampMonotonic",
    "AssertTimestamp",
    "AssertResult",
    "ConditionTimestamp",
    "ConditionResult",
];

/// Those of a whole answer (`a{sv}`).
#[derive(Debug)]
struct OfUnit(HashMap<String, OwnedVariant>);

impl Type for OfUnit {
    const SIGNATURE: &'static Signature = HashMap::<&str, Variant<'_>>::SIGNATURE;
}

impl<'de> Deserialize<'de> for OfUnit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Properties;
        impl<'de> Visitor<'de> for Properties {
            type Value = HashMap<String, OwnedVariant>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("properties by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut kept = HashMap::with_capacity(OF_UNIT.len());
                while let Some(name) = all.next_key::<&str>()? {
                    if OF_UNIT.contains(&name) {
                        kept.insert(name.to_owned(), all.next_value()?);
                    } else {
                        all.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(kept)
            }
        }
        deserializer.deserialize_map(Properties).map(Self)
    }
}

/// systemd's manager object on a connection.
pub(crate) async fn manager(connection: &Connection) -> Result<ManagerProxy<'static>, PortError> {
    limited("asking for systemd", CALL, async move {
        ManagerProxy::builder(connection).cache_properties(CacheProperties::No).build().await
    })
    .await
}

/// Has systemd send signals on the manager's connection: only who has subscribed hears of the end of jobs. Once is enough, and a
/// second time is refused.
pub(crate) async fn subscribe(what: &str, manager: &ManagerProxy<'_>) -> Result<(), PortError> {
    let call = async { manager.subscribe().await.or_else(already) };
    limited(what, CALL, call).await
}

fn already(error: zbus::Error) -> zbus::Result<()> {
    match &error {
        zbus::Error::MethodError(name, ..) if name.as_str() == "org.freedesktop.systemd1.AlreadySubscribed" => Ok(()),
        _ => Err(error),
    }
}

/// A call with a deadline; its error says what was asked for.
pub(crate) async fn limited<T>(
    what: &str,
    deadline: Duration,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, PortError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result.map_err(|error| failed(what, &error)),
        Err(_) => Err(PortError::new(
            ErrorKind::Timeout,
            format!("{what}: systemd did not answer on D-Bus within {} s", deadline.as_secs()),
        )
        .hint("look with: systemctl status dbus.service; systemctl list-jobs")),
    }
}

/// A D-Bus error as a port's.
pub(crate) fn failed(what: &str, error: &zbus::Error) -> PortError {
    match error {
        zbus::Error::MethodError(name, text, _) => method_error(what, name.as_str(), text.as_deref()),
        zbus::Error::FDO(error) => {
            let name = zbus::DBusError::name(error.as_ref()).to_string();
            method_error(what, &name, zbus::DBusError::description(error.as_ref()))
        }
        zbus::Error::Connection(..)
        | zbus::Error::InputOutput(_)
        | zbus::Error::Handshake(_)
        | zbus::Error::Address(_) => unreachable_bus(what, &error.to_string()),
        other => PortError::new(ErrorKind::Other, format!("{what}: {other}")),
    }
}

fn unreachable_bus(what: &str, cause: &str) -> PortError {
    PortError::new(ErrorKind::Unreachable, format!("{what}: the system bus (D-Bus) cannot be reached: {cause}"))
        .hint("look with: systemctl status dbus.service dbus.socket")
}

/// An error that the other side answered, by its D-Bus name.
fn method_error(what: &str, name: &str, text: Option<&str>) -> PortError {
    let text = text.unwrap_or(name);
    let message = format!("{what}: {text}");
    match name {
        "org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.DBus.Error.FileNotFound" => {
            PortError::new(ErrorKind::NotFound, message)
        }
        "org.freedesktop.systemd1.UnitMasked" => {
            PortError::new(ErrorKind::Denied, message).hint("somebody masked it: systemctl unmask it")
        }
        "org.freedesktop.systemd1.UnitExists" => PortError::new(ErrorKind::Busy, message),
        "org.freedesktop.systemd1.BadUnitSetting"
        | "org.freedesktop.systemd1.LoadFailed"
        | "org.freedesktop.DBus.Error.InvalidArgs" => PortError::new(ErrorKind::Invalid, message),
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
        | "org.freedesktop.DBus.Error.AuthFailed" => PortError::new(ErrorKind::Denied, message).hint("this needs root"),
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
            PortError::new(ErrorKind::Unreachable, format!("{what}: systemd is not on the system bus: {text}"))
                .hint("is systemd this machine's init?")
        }
        "org.freedesktop.DBus.Error.NoReply"
        | "org.freedesktop.DBus.Error.Disconnected"
        | "org.freedesktop.DBus.Error.NoServer" => unreachable_bus(what, text),
        "org.freedesktop.DBus.Error.Timeout" | "org.freedesktop.DBus.Error.TimedOut" => {
            PortError::new(ErrorKind::Timeout, message)
        }
        _ => PortError::new(ErrorKind::Other, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_was_asked_for_and_sort_themselves() {
        let kind = |name| method_error("starting x.mount", name, Some("text")).kind;
        assert_eq!(kind("org.freedesktop.systemd1.NoSuchUnit"), ErrorKind::NotFound);
        assert_eq!(kind("org.freedesktop.systemd1.UnitMasked"), ErrorKind::Denied);
        assert_eq!(kind("org.freedesktop.DBus.Error.ServiceUnknown"), ErrorKind::Unreachable);
        assert_eq!(kind("org.freedesktop.DBus.Error.NoReply"), ErrorKind::Unreachable);
        let error = method_error("starting x.mount", "org.freedesktop.systemd1.NoSuchUnit", Some("Unit not found."));
        assert_eq!(error.message, "starting x.mount: Unit not found.");
    }

    #[test]
    fn already_subscribed_is_told_by_the_errors_name_alone() {
        let error = |name: &str| {
            let call = zbus::message::Message::method_call("/", "Subscribe").build(&()).unwrap();
            let text = Some("/mnt/subscriptions: Client is already subscribed.".to_owned());
            zbus::Error::MethodError(name.try_into().unwrap(), text, call)
        };
        assert!(already(error("org.freedesktop.systemd1.AlreadySubscribed")).is_ok());
        assert!(already(error("org.freedesktop.DBus.Error.Failed")).is_err());
    }

    #[test]
    fn of_a_units_properties_those_that_are_looked_at() {
        let path = || ObjectPath::try_from("/org/freedesktop/systemd1/job/7").unwrap();
        let whole = HashMap::from([
            ("ActiveState", Variant::from("active")),
            ("Job", Variant::from((7_u32, path()))),
            ("DropInPaths", Variant::from(vec!["/etc/x.conf", "/etc/y.conf"])),
            ("NeedDaemonReload", Variant::from(true)),
            // What is passed over is of every kind that systemd has.
            ("Requires", Variant::from(vec!["a.mount", "b.mount"])),
            ("Conditions", Variant::from(vec![("ConditionPathExists", false, true, "/x", -1_i32)])),
            ("LoadError", Variant::from(("", ""))),
            ("InvocationID", Variant::from(vec![1_u8, 2, 3])),
            ("Refs", Variant::from(Vec::<&str>::new())),
            ("Following", Variant::from(path())),
            ("CPUWeight", Variant::from(u64::MAX)),
        ]);
        let context = zbus::wire::serialized::Context::new(zbus::wire::LE, 0);
        let bytes = zbus::wire::to_bytes(context, &whole).unwrap();
        let OfUnit(kept) = bytes.deserialize().unwrap().0;
        let mut names: Vec<_> = kept.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["ActiveState", "DropInPaths", "Job", "NeedDaemonReload"]);
        assert_eq!(<&str>::try_from(&kept["ActiveState"]).unwrap(), "active");
        let job = <(u32, OwnedObjectPath)>::try_from(kept["Job"].try_clone().unwrap()).unwrap();
        assert_eq!((job.0, job.1.as_str()), (7, path().as_str()));
    }

    #[tokio::test]
    async fn a_bus_that_is_gone_is_unreachable() {
        let gone = zbus::connection::Builder::address("unix:path=/no/such/bus").build();
        let error = limited("reading k3s.service", CALL, gone).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.message.starts_with("reading k3s.service: the system bus (D-Bus) cannot be reached"));
        assert!(error.hint.is_some());
    }
}
