//! News for observers: the core's notices with the shell's knowledge added, as one stream of values.
//!
//! Owns the shape (the twin of [`clustr_core::Notice`] that may be serialised) and its one-line text for people.
//! Never decides anything. Made by `supervisor`, read by the log, by subscribers and by the command line.

mod replacing;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One piece of news.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct News {
    /// When, in milliseconds since 1970 (wall clock: for people only).
    pub at_unix_ms: u64,
    /// Of which app.
    pub app: String,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened. The name is in the field `news`, in kebab-case; unknown names may appear in later versions.
///
/// `slot` and `incarnation` say which worker, `pid` its process (0 if it never had one). Times are in milliseconds:
/// `took_ms` from a worker's start until it was ready, `lived_ms` until its end, `after_ms` since it was asked.
/// `recent` restarts count against the slot's intensity, in `period_ms`.
#[allow(missing_docs, reason = "the fields recur, and are explained once, above")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum Fact {
    /// A worker's process was started.
    Started { slot: u32, incarnation: u64, generation: u64, pid: u32 },
    /// A worker's process could not be started.
    NotStarted { slot: u32, incarnation: u64, error: String, hint: Option<String> },
    /// A worker listens on an address.
    Listening { slot: u32, incarnation: u64, address: String },
    /// A worker can serve; `assumed` if it never said so and its readiness deadline stood for its word.
    Ready { slot: u32, incarnation: u64, pid: u32, took_ms: u64, assumed: bool },
    /// A worker missed its readiness deadline and is being killed.
    Overdue { slot: u32, incarnation: u64, after_ms: u64 },
    /// A worker is leaving of its own accord.
    Left { slot: u32, incarnation: u64 },
    /// A worker was asked to stop.
    Stopping { slot: u32, incarnation: u64 },
    /// A worker did not stop in time and is being killed.
    Killing { slot: u32, incarnation: u64, after_ms: u64 },
    /// A worker did not end even by SIGKILL.
    Unkillable { slot: u32, incarnation: u64 },
    /// A worker ended: by `code`, or by `signal` (its name).
    Exited {
        slot: u32,
        incarnation: u64,
        pid: u32,
        code: Option<i32>,
        signal: Option<String>,
        core_dumped: bool,
        expected: bool,
        was_ready: bool,
        lived_ms: u64,
        /// The kernel killed it for want of memory: of the `cgroup`, or probably of the `host`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        out_of_memory: Option<String>,
        /// Its last lines on both outputs, where it failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        last_output: Vec<String>,
    },
    /// A slot waits before its next worker starts.
    Resting { slot: u32, rest_ms: u64, recent: u32 },
    /// A slot had more restarts than its intensity allows.
    GaveUp {
        slot: u32,
        recent: u32,
        period_ms: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        last_output: Vec<String>,
    },
    /// A slot's worker ended and has no successor by its restart mode.
    Done { slot: u32 },
    /// The number of wanted workers changed.
    Scaled { from: u32, to: u32 },
    /// A reload has begun: generation `to` is to serve instead of `from`. Where both are the same it is a restart.
    Reloading { from: u64, to: u64, slots: u32 },
    /// A reload was asked for during another and is remembered, `instead` of one that was remembered before.
    Remembered { instead: bool },
    /// Every worker of a batch is ready, and is watched.
    Settling { to: u64, ready: u32, slots: u32, settle_ms: u64 },
    /// A worker stands by while a newer generation is tried in its place.
    Parked { slot: u32, incarnation: u64 },
    /// A parked worker serves again.
    Readmitted { slot: u32, incarnation: u64 },
    /// The new generation is confirmed.
    Reloaded { from: u64, to: u64, took_ms: u64 },
    /// A reload or restart failed, because of this worker.
    RolledBack {
        tried: u64,
        /// Which generation serves now.
        serves: u64,
        slot: u32,
        incarnation: u64,
        /// The stable name of what became of the worker.
        setback: String,
        /// The same for people.
        why: String,
        /// In how many slots the old generation is started again.
        put_back: u32,
        /// In how many slots it cannot be.
        lost: u32,
        /// The file that has changed since the old generation began, because of which it cannot be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changed: Option<String>,
        /// The worker's last lines on both outputs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        last_output: Vec<String>,
        hint: Option<String>,
    },
    /// A reload or restart ended because the app does.
    ReloadCancelled { to: u64 },
    /// A slot is left empty: what it held has failed, and what it held before cannot be started again.
    Stranded { slot: u32 },
    /// A worker does not serve as it should: `probe`, `watchdog` or `stuck`, and why that is believed.
    Failing { slot: u32, incarnation: u64, ailment: String, why: String },
    /// It does again.
    Recovered { slot: u32, incarnation: u64, ailment: String },
    /// A worker gets a replacement (`by`, an incarnation of its slot), for the reason `why`.
    Renewing { slot: u32, incarnation: u64, by: u64, why: String },
    /// A worker was replaced, and is being removed.
    Renewed { slot: u32, incarnation: u64, by: u64, ready: bool },
    /// A worker's replacement will not do.
    NotRenewed { slot: u32, incarnation: u64, why: String, setback: String },
    /// Every wanted slot has settled for the first time.
    Running { ready: u32 },
    /// The app is ending: `finished`, `gave-up`, `asked`, `signalled` or `at-once`.
    Ending { reason: String },
    /// The app has ended: `finished`, `stopped` or `gave-up`.
    Ended { verdict: String },
    /// A worker sent a message that clustr has no meaning for (`process.send`), as JSON; of a longer one the first 64 KiB.
    Message { slot: u32, incarnation: u64, json: String },
    /// Something unusual was handled.
    Warning { detail: String, hint: Option<String> },
    /// Lines of output were lost because whoever reads them had stopped reading.
    OutputLost { lines: u64 },
    /// The primary hears commands here.
    Control { path: String },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fact, f)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { slot, incarnation, pid, generation } => {
                write!(
                    f,
                    "worker started slot={slot} incarnation={incarnation} pid={pid} generation={generation}"
                )
            }
            Self::NotStarted { slot, incarnation, error, .. } => {
                write!(f, "worker could not be started slot={slot} incarnation={incarnation}: {error}")
            }
            Self::Listening { slot, address, .. } => {
                write!(f, "worker listening slot={slot} address={address}")
            }
            Self::Ready { slot, pid, took_ms, assumed, .. } => {
                write!(f, "worker ready slot={slot} pid={pid} took={}", span(*took_ms))?;
                if *assumed { f.write_str(" (assumed: it has not said so)") } else { Ok(()) }
            }
            Self::Overdue { slot, after_ms, .. } => {
                write!(f, "worker not ready in time, killing it slot={slot} after={}", span(*after_ms))
            }
            Self::Left { slot, .. } => write!(f, "worker leaves of its own accord slot={slot}"),
            Self::Stopping { slot, .. } => write!(f, "worker stopping slot={slot}"),
            Self::Killing { slot, after_ms: 0, .. } => write!(f, "killing worker slot={slot}"),
            Self::Killing { slot, after_ms, .. } => {
                write!(f, "worker did not stop in time, killing it slot={slot} after={}", span(*after_ms))
            }
            Self::Unkillable { slot, .. } => write!(f, "worker does not end even by SIGKILL slot={slot}"),
            Self::Exited { .. } => self.fmt_exited(f),
            Self::Resting { slot, rest_ms, recent } => {
                write!(f, "restarting in {} slot={slot} recent_restarts={recent}", span(*rest_ms))
            }
            Self::GaveUp { slot, recent, period_ms, .. } => {
                let period = span(*period_ms);
                write!(f, "slot gave up slot={slot}: restart {recent} in {period} is one too many")
            }
            Self::Reloading { .. }
            | Self::Remembered { .. }
            | Self::Settling { .. }
            | Self::Parked { .. }
            | Self::Readmitted { .. }
            | Self::Reloaded { .. }
            | Self::RolledBack { .. }
            | Self::ReloadCancelled { .. }
            | Self::Stranded { .. }
            | Self::Failing { .. }
            | Self::Recovered { .. }
            | Self::Renewing { .. }
            | Self::Renewed { .. }
            | Self::NotRenewed { .. } => replacing::write(self, f),
            Self::Done { slot } => write!(f, "slot done slot={slot}"),
            Self::Scaled { from, to } => write!(f, "scaled from={from} to={to}"),
            Self::Running { ready } => write!(f, "running ready={ready}"),
            Self::Ending { reason } => write!(f, "stopping reason={reason}"),
            Self::Ended { verdict } => write!(f, "ended verdict={verdict}"),
            Self::Message { slot, json, .. } => write!(f, "worker message slot={slot} {json}"),
            Self::Warning { detail, .. } => f.write_str(detail),
            Self::OutputLost { lines } => write!(f, "output lost lines={lines}: its reader had stopped"),
            Self::Control { path } => write!(f, "control socket path={path}"),
        }
    }
}

impl Fact {
    fn fmt_exited(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Exited {
            slot,
            incarnation,
            pid,
            code,
            signal,
            core_dumped,
            was_ready,
            lived_ms,
            out_of_memory,
            ..
        } = self
        else {
            return Ok(());
        };
        write!(f, "worker exited slot={slot} incarnation={incarnation} pid={pid}")?;
        if let Some(code) = code {
            write!(f, " code={code}")?;
        }
        if let Some(signal) = signal {
            write!(f, " signal={signal}")?;
        }
        if let Some(whose) = out_of_memory {
            write!(f, " out-of-memory={whose}")?;
        }
        if *core_dumped {
            f.write_str(" core-dumped")?;
        }
        if !*was_ready {
            f.write_str(" before-ready")?;
        }
        write!(f, " lived={}", span(*lived_ms))
    }

    /// Something to type, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        let (Self::NotStarted { hint, .. } | Self::Warning { hint, .. } | Self::RolledBack { hint, .. }) =
            self
        else {
            return None;
        };
        hint.as_deref()
    }
}

impl Fact {
    /// The last lines of a worker that are to be read with it. Those of an exit were read as they came.
    #[must_use]
    pub fn last_words(&self) -> &[String] {
        let (Self::GaveUp { last_output, .. } | Self::RolledBack { last_output, .. }) = self else {
            return &[];
        };
        last_output
    }
}

/// `250ms`, `1.5s`, `3m20s`: short enough for a line.
#[must_use]
pub fn span(ms: u64) -> String {
    let whole = Duration::from_millis(ms);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{:.1}s", whole.as_secs_f64()),
        _ => format!("{}m{:02}s", whole.as_secs() / 60, whole.as_secs() % 60),
    }
}
