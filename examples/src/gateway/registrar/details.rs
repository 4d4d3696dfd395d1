//! What the owner of a tunnel says about it, and may change later.

use super::Registrar;
use super::owner::{TunnelView, protocol_name};
use adit_errors::{Code, Refusal};
use adit_naming::{Description, DisplayName, TunnelName};
use adit_router::{ChangeError, Changes, Command, TlsMode};
use adit_wire_proto::control::Register;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The body of `PATCH /tunnels/{id}`. What isn't mentioned stays; `null` clears what can be cleared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct TunnelChanges {
    // These three are fixed at creation: taken only if they are what the tunnel has.
    name: Option<String>,
    tls_mode: Option<String>,
    protocol: Option<String>,
    /// `active` or `paused`.
    status: Option<String>,
    #[serde(deserialize_with = "mentioned")]
    display_name: Option<Option<String>>,
    #[serde(deserialize_with = "mentioned")]
    description: Option<Option<String>>,
    #[serde(deserialize_with = "mentioned")]
    metadata: Option<Option<Map<String, Value>>>,
}

impl Registrar {
    /// Changes what may be changed, all of it or nothing.
    pub(in super::super) fn update(&self, id: &str, wanted: &TunnelChanges) -> Result<TunnelView, Refusal> {
        let (changes, command) = (wanted.changes()?, wanted.command()?);
        self.with(id, |registrar, tunnel| {
            if wanted.protocol.as_deref().is_some_and(|wanted| wanted != protocol_name(tunnel.protocol)) {
                return Err(immutable("protocol"));
            }
            let mut record = tunnel.record.clone();
            record.update(changes).map_err(|error| Refusal::from(&error))?;
            if let Some(command) = command {
                record.apply(command, registrar.config.clock.now()).map_err(|error| Refusal::from(&error))?;
            }
            tunnel.record = record;
            registrar.settle(tunnel)?;
            Ok(registrar.view(tunnel, None))
        })
    }
}

impl TunnelChanges {
    fn changes(&self) -> Result<Changes, Refusal> {
        let mut changes = details(
            self.display_name.as_ref().map(Option::as_deref),
            self.description.as_ref().map(Option::as_deref),
            self.metadata.as_ref().map(Option::as_ref),
        )?;
        if let Some(name) = &self.name {
            // What is no name at all is another one than the tunnel's.
            changes = changes.name(TunnelName::parse(name).map_err(|_| immutable("name"))?);
        }
        match self.tls_mode.as_deref() {
            None => Ok(changes),
            Some("edge") => Ok(changes.tls_mode(TlsMode::Edge)),
            Some("passthrough") => Ok(changes.tls_mode(TlsMode::Passthrough)),
            Some(_) => Err(immutable("tls_mode")),
        }
    }

    fn command(&self) -> Result<Option<Command>, Refusal> {
        match self.status.as_deref() {
            None => Ok(None),
            Some("active") => Ok(Some(Command::Resume)),
            Some("paused") => Ok(Some(Command::Pause)),
            Some(_) => Err(Refusal::new(Code::VALIDATION_FAILED, "status can be set to active or paused")),
        }
    }
}

/// What is for people and for the owner's own programs, as changes to a record: `None` leaves, `Some(None)` clears.
pub(super) fn details(
    display_name: Option<Option<&str>>,
    description: Option<Option<&str>>,
    metadata: Option<Option<&Map<String, Value>>>,
) -> Result<Changes, Refusal> {
    let invalid = |message: String| Refusal::new(Code::VALIDATION_FAILED, message);
    let mut changes = Changes::new();
    if let Some(text) = display_name {
        let text = text.map(DisplayName::parse).transpose();
        changes = changes.display_name(text.map_err(|error| invalid(format!("display_name: {error}")))?);
    }
    if let Some(text) = description {
        let text = text.map(Description::parse).transpose();
        changes = changes.description(text.map_err(|error| invalid(format!("description: {error}")))?);
    }
    if let Some(object) = metadata {
        let text = object.map(serde_json::to_string).transpose().map_err(|_| Refusal::internal())?;
        changes = changes.metadata(text.as_deref());
    }
    Ok(changes)
}

/// The same of a registration, which clears nothing.
pub(super) fn of_registration(wanted: &Register) -> Result<Changes, Refusal> {
    let said = |text: &'_ str| (!text.is_empty()).then_some(());
    let metadata: Option<Map<String, Value>> = match said(&wanted.metadata) {
        Some(()) => Some(
            serde_json::from_str(&wanted.metadata)
                .map_err(|_| Refusal::new(Code::VALIDATION_FAILED, "metadata is a JSON object"))?,
        ),
        None => None,
    };
    details(
        said(&wanted.display_name).map(|()| Some(wanted.display_name.as_str())),
        said(&wanted.description).map(|()| Some(wanted.description.as_str())),
        metadata.as_ref().map(Some),
    )
}

fn immutable(field: &'static str) -> Refusal {
    Refusal::from(&ChangeError::Immutable { field })
}

/// Tells `null` from what isn't there.
fn mentioned<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
