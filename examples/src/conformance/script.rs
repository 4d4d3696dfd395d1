//! Scripts: what is sent and what is expected, as data.

use crate::BoxError;
use serde::Deserialize;

/// One script, played on a connection of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Script {
    /// Its name, unique in its file.
    pub name: String,
    /// The section of the specification that its steps prove, unless they name another.
    pub section: String,
    /// How far the session is brought before the first step.
    #[serde(default)]
    pub(super) start: Start,
    /// The carrier that it is for; every one by default.
    #[serde(default)]
    pub(super) carrier: Option<CarrierKind>,
    /// Whether it waits for a limit of time, and so takes up to a minute.
    #[serde(default)]
    pub(super) slow: bool,
    /// Whether the PINGs of the one under test stay without answer.
    #[serde(default)]
    pub(super) mute: bool,
    /// Whether it rotates the secret of the gateway under test.
    #[serde(default)]
    pub(super) rotates: bool,
    pub(super) steps: Vec<Step>,
}

impl Script {
    /// Whether it rotates the secret of the gateway under test, so that the one that was given is good no more.
    pub const fn rotates_secret(&self) -> bool {
        self.rotates
    }

    /// Whether it waits for a limit of time, and so takes up to a minute.
    pub const fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether it stays below the control stream, so that it needs no credential.
    pub fn is_below_control(&self) -> bool {
        self.start < Start::Control
    }
}

/// How far a session is before a script begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Start {
    /// Connected; nothing was sent.
    Connection,
    /// Both HELLOs were exchanged.
    #[default]
    Hello,
    /// The control stream is open; nothing was said on it by us.
    Control,
    /// The agent was let in.
    Welcomed,
    /// The agent has a registration of ours: number 1, generation 1. Only where the agent is tested.
    Serving,
}

/// What the frames travel on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CarrierKind {
    Tls,
    Plain,
}

/// One step, and the section that it proves.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) section: Option<String>,
    #[serde(flatten)]
    pub(super) action: Action,
}

/// What a step does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    /// Sends these octets as they are.
    Send(String),
    /// Waits for a frame of this pattern.
    Expect(String),
    /// Waits for these octets on a stream.
    Data(Data),
    /// Waits for CLOSE with one of these codes, and for the end of the connection.
    Close(Vec<String>),
    /// Sends a control message, given as protobuf; its length and the frame are added.
    Control(String),
    /// Says something on the control stream that has to be computed.
    Say(Said),
    /// Waits for a control message of this kind.
    Hear(Heard),
    /// Does something on the other side of the one under test: as its visitor, or as its upstream.
    Local(Local),
    /// Sends this text there.
    LocalSend(String),
    /// Waits for this text there.
    LocalExpect(String),
    /// Sends DATA on a stream until no more credit comes, and then so many octets more.
    Fill(Fill),
    /// Opens streams until no more are granted, and then one more.
    OpenTooMany(OpenTooMany),
    /// Sends octets many times.
    Repeat(Repeat),
    /// Sends octets one by one.
    Drip(Drip),
    /// Begins another session beside the present one, and goes on in it.
    Again(Start),
    /// Goes back to the session before.
    Back(Empty),
    /// Waits whether the agent under test connects once more, which it must not.
    StaysAway(StaysAway),
}

/// Nothing to say: `{}`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repeat {
    pub(super) times: u32,
    /// Hexadecimal; `{4}` and `{8}` stand for a counter of so many octets.
    pub(super) send: String,
    /// Where the counter begins.
    #[serde(default = "one")]
    pub(super) from: u32,
    /// How much it rises each time.
    #[serde(default = "one")]
    pub(super) by: u32,
}

const fn one() -> u32 {
    1
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drip {
    pub(super) octets: String,
    pub(super) pause_ms: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaysAway {
    pub(super) seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    pub(super) id: u32,
    pub(super) text: String,
    #[serde(default)]
    pub(super) fin: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fill {
    pub(super) id: u32,
    pub(super) beyond: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenTooMany {
    /// The first id to use.
    pub(super) first: u32,
    /// The head of each, as hex.
    pub(super) head: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    /// An agent's hello with the credential, bound to the connection if it can be.
    Hello,
    /// The same with the secret before the last rotation that the program asked for.
    HelloWithOldSecret,
    /// The same with another secret of the same id.
    HelloWithWrongSecret,
    /// The same with an id that nobody knows.
    HelloOfUnknownId,
    /// A hello whose binding is not the carrier's.
    HelloWithOtherBinding,
    /// A gateway's welcome whose proof is wrong.
    WelcomeWithWrongProof,
    /// A gateway's welcome without proof.
    WelcomeWithoutProof,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heard {
    pub(super) kind: String,
    /// The request that it answers; 0 for none.
    #[serde(default)]
    pub(super) number: u64,
    /// The code, if it is a refusal and the code matters.
    pub(super) code: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Local {
    /// The visitor connects, or the upstream accepts.
    Open,
    /// Ends its direction.
    Finish,
    /// Waits for the end of the other direction.
    End,
}

/// The scripts that come with the program and test a gateway.
///
/// # Errors
/// None, unless the file was changed.
pub fn gateway_scripts() -> Result<Vec<Script>, BoxError> {
    parse(include_str!("../../conformance/gateway.json"))
}

/// The scripts that come with the program and test an agent.
///
/// # Errors
/// None, unless the file was changed.
pub fn agent_scripts() -> Result<Vec<Script>, BoxError> {
    parse(include_str!("../../conformance/agent.json"))
}

/// Reads scripts.
///
/// # Errors
/// Where the JSON is none, or not of this form.
pub fn parse(text: &str) -> Result<Vec<Script>, BoxError> {
    Ok(serde_json::from_str(text)?)
}
