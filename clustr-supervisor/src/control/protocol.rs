//! The words of the control socket: JSON, one value a line, both ways.
//!
//! Owns the shapes that scripts and the command line rely on, and nothing else: `docs/control-protocol.md` shows
//! them as transcripts that run as tests. Unknown fields are ignored; new fields may appear.
//!
//! ```text
//! → {"id":1,"cmd":"status"}
//! ← {"id":1,"ok":true,"state":"done","status":{…}}
//! → {"id":2,"cmd":"scale","by":2}
//! ← {"id":2,"ok":true,"state":"accepted"}
//! ← {"id":2,"ok":true,"state":"done"}
//! → {"id":3,"cmd":"scale","to":0}
//! ← {"id":3,"ok":false,"refusal":"no-workers","detail":"an app needs at least one worker","hint":"clustr stop"}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::news::News;

/// The longest line that either side accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// One request line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Request {
    /// Chosen by the client, repeated in every reply.
    pub id: u64,
    /// For which app; of several none named means all, where that makes sense, and is refused as `which-app` else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// What is wished.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What a client may ask.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ask {
    /// A picture of the primary, its app and its workers.
    Status {
        /// Of the workers of this slot alone, with the last lines that they have printed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
        /// Count each worker's open TCP connections, for which the primary has to look through their descriptors.
        #[serde(default, skip_serializing_if = "is_false")]
        connections: bool,
    },
    /// Change the number of workers: exactly one of `to` and `by`.
    Scale {
        /// Exactly so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u32>,
        /// So many more, or fewer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<i32>,
    },
    /// Replace every worker by one of a new generation. The second answer comes when it serves, or the old one again.
    Reload {
        /// In which batches.
        #[serde(default)]
        plan: Batches,
        /// The size of a canary or of a rolling batch: 1 where it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slots: Option<u32>,
        /// For how long each batch is watched once it is ready, in milliseconds: 1,000 where it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settle_ms: Option<u64>,
        /// Variables to add or to change, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// Another command, with its arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
    },
    /// Say what such a reload would change, and change nothing.
    Difference {
        /// As in `reload`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// As in `reload`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
    },
    /// Replace the worker of a slot, or of all, by one of the same generation.
    Restart {
        /// Which; else all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
    /// Stop the app and the primary. The second answer comes when nothing runs any more.
    Stop {
        /// Kill instead of draining.
        #[serde(default)]
        now: bool,
    },
    /// Send a signal to workers: to the process that listens, where that is known, else to the one that was started. Done
    /// when it is sent; what the program makes of it, an exit say, is as if it had come from elsewhere.
    Signal {
        /// Its name, with or without `SIG`, or its number.
        signal: String,
        /// To the worker of this slot alone; else to all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
    /// Send a message to workers that have clustr's channel or node's. Done when it is on its way to each of them.
    Send {
        /// The message. On clustr's channel its bytes are what the worker hears; on node's it is the value that it is as
        /// JSON, else a string.
        message: String,
        /// To the worker of this slot alone; else to all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
    /// From now on, every piece of news as a line `{"id":…,"news":{…}}`.
    Subscribe,
}

/// The batches of a reload.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Batches {
    /// All slots at once; the old workers stand by.
    #[default]
    All,
    /// So many slots first, then the rest; the old workers stand by.
    Canary,
    /// So many slots at a time; the old workers are stopped as it goes.
    Rolling,
}

/// One reply line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reply {
    /// The request's number; 0 where the request could not be read.
    pub id: u64,
    /// Whether it was granted.
    pub ok: bool,
    /// How far it has come, where it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Progress>,
    /// The answer to `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The answer to `difference`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// Why it was not granted: a stable name in kebab-case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Something to type instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How far a granted request has come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// It has begun; one more reply follows.
    Accepted,
    /// It is done and proven.
    Done,
}

/// What a reload would change. Of variables the names alone are told: their values may be secrets.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// The generation that serves.
    pub generation: u64,
    /// The command, if it is another.
    pub command: Option<Change<Vec<String>>>,
    /// Where the program is found, if that is elsewhere: also where links lead elsewhere now.
    pub program: Option<Change<String>>,
    /// The working folder that links lead to, if it is another.
    pub folder: Option<Change<String>>,
    /// Variables.
    pub variables: VariableChanges,
    /// Files of variables, the program, and files that its arguments name, which are not those of this generation's beginning.
    pub files: Vec<FileChange>,
    /// Why the new version could not be started at all, if that is known now.
    pub error: Option<String>,
    /// Something to do about it.
    pub hint: Option<String>,
}

/// Something that would be different.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change<T> {
    /// What it is now.
    pub from: T,
    /// What it would be.
    pub to: T,
}

/// Names of variables whose values would be different.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct VariableChanges {
    /// Not there now.
    pub added: Vec<String>,
    /// There, with another value.
    pub changed: Vec<String>,
    /// There no more.
    pub removed: Vec<String>,
}

/// A file that is another now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileChange {
    /// Where.
    pub path: String,
    /// `replaced` (another file, or changed in its place) or `gone`.
    pub change: String,
}

/// A line of news to a subscriber.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Delivery {
    /// The number of the `subscribe` request.
    pub id: u64,
    /// What happened.
    pub news: News,
    /// How many lines this subscriber missed just before, because it was too slow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

/// A picture of the primary.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The version of this shape: 1.
    pub version: u32,
    /// The primary's name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// `starting`, `running`, `reloading` or `stopping`.
    pub state: String,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// The clustr that runs it.
    pub clustr: String,
    /// The file with its output and its workers', where it runs in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Its apps.
    pub apps: Vec<AppStatus>,
}

/// A picture of one app.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AppStatus {
    /// Its name.
    pub name: String,
    /// `waiting` (for those that it is after), `starting`, `running`, `reloading`, `stopping`; or how it has ended: `finished`,
    /// `stopped`, `gave-up`, `not-started`.
    #[serde(default)]
    pub state: String,
    /// The apps that it starts after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// The version of command and environment that new workers are started from.
    pub generation: u64,
    /// How many workers are wanted.
    pub wanted: u32,
    /// How many are ready.
    pub ready: u32,
    /// How workers get connections: `shared`, `per-worker` or `handoff`.
    pub share: String,
    /// Why, where clustr has chosen one that is not `shared`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_why: Option<String>,
    /// How the socket reaches them: `node`.
    pub delivery: Vec<String>,
    /// How programs' own binds are shared: `adopt` (the very sockets are kept), `replace` (others are put in their place), `none`
    /// (it does not work here). Absent where nobody wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intercept: Option<String>,
    /// Why it is not `adopt`, and what is done instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intercept_why: Option<String>,
    /// What they listen on.
    pub listeners: Vec<ListenerStatus>,
    /// What it was configured from, where that is a file: the file, and its keys besides command, variables and workers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// One entry a worker; one of a slot in which there is none.
    pub workers: Vec<WorkerStatus>,
    /// The command, as it was given.
    pub command: Vec<String>,
    /// Why the last reload failed, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
}

/// A reload that failed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RolledBack {
    /// The generation that failed.
    pub tried: u64,
    /// The generation that serves.
    pub serves: u64,
    /// The slot of the worker that failed first.
    pub slot: u32,
    /// Which worker of that slot it was.
    pub incarnation: u64,
    /// What became of it, in words that follow its name.
    pub why: String,
    /// How many slots stay empty, or keep the new generation, because the old one cannot be started again.
    #[serde(default, skip_serializing_if = "is_none_lost")]
    pub lost: u32,
    /// The file that has changed since the old generation began, because of which it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// The last lines that it said.
    pub last_output: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
}

/// A listener that the workers share.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListenerStatus {
    /// `[::]:3001`, `unix:/run/app.sock`, `udp:0.0.0.0:53`.
    pub address: String,
    /// Sockets of nobody's worker on the same port, where each worker has a queue of its own; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<StrangerStatus>,
}

/// A process that listens on the port of a listener, and is no worker.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StrangerStatus {
    /// Whose it is; `null` if that cannot be seen.
    pub pid: Option<u32>,
    /// Where it listens.
    pub address: String,
    /// Whether clients come to it that would be the workers' otherwise.
    pub takes_clients: bool,
}

/// A picture of one slot and whoever is in it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Which place, from 0.
    pub slot: u32,
    /// Which worker of its slot, from 1; 0 before the first.
    pub incarnation: u64,
    /// From which version it was started.
    pub generation: u64,
    /// Its process, if there is one.
    pub pid: Option<u32>,
    /// `starting`, `ready`, `parked`, `draining`, `stopping`, `resting`, `gave-up` or `done`.
    pub state: String,
    /// How often a worker of this slot had a successor.
    pub restarts: u64,
    /// Since its start, in milliseconds; of a resting slot nothing.
    pub uptime_ms: Option<u64>,
    /// How the slot's last worker ended: `code 1`, `SIGKILL`.
    pub last_exit: Option<String>,
    /// Resident memory in bytes, where the process can be looked at.
    pub rss_bytes: Option<u64>,
    /// CPU time used, user and system, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// What it says that it is about (`STATUS=`, sd_notify(3)), if it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// Until when a resting slot rests, from now, in milliseconds.
    pub rest_ms: Option<u64>,
    /// Open connections of clients: `null` where they were not asked for, or cannot be told.
    #[serde(default)]
    pub connections: Option<u64>,
    /// The last lines that it has printed, where one slot was asked for and they were not inherited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_output: Vec<String>,
}

impl RolledBack {
    /// Whether it was a restart that failed: the same generation again, and nothing was lost.
    #[must_use]
    pub const fn is_of_restart(&self) -> bool {
        self.tried == self.serves && self.lost == 0
    }
}

impl Reply {
    /// A granted request that has come this far.
    #[must_use]
    pub const fn granted(id: u64, state: Progress) -> Self {
        Self {
            id,
            ok: true,
            state: Some(state),
            status: None,
            difference: None,
            refusal: None,
            detail: None,
            hint: None,
        }
    }

    /// A request that is not granted.
    #[must_use]
    pub fn refused(id: u64, refusal: &str, detail: String, hint: Option<&str>) -> Self {
        Self {
            id,
            ok: false,
            state: None,
            status: None,
            difference: None,
            refusal: Some(refusal.to_owned()),
            detail: Some(detail),
            hint: hint.map(str::to_owned),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_none_lost(slots: &u32) -> bool {
    *slots == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
