//! The rules of an app: an invalid policy cannot be made.
//!
//! Owns every number that decides over a worker's life, with the defaults that the command line promises.

use core::fmt;
use core::time::Duration;

/// The most slots an app can have.
pub const SLOTS_MAX: u32 = 1_024;

/// The rules by which an app's workers live. Made by [`Policy::builder`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    pub(crate) slots: u32,
    pub(crate) restart: RestartMode,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    pub(crate) stable_time: Duration,
    pub(crate) ready_timeout: Duration,
    pub(crate) overdue: Overdue,
    pub(crate) stop_timeout: Duration,
    pub(crate) stop_order: StopOrder,
    pub(crate) stop_exit_codes: ExitCodes,
    pub(crate) max_age: Option<Duration>,
    pub(crate) hang_timeout: Duration,
}

/// When a worker that ended has a successor: the words of Erlang/OTP's supervisor. They speak of exits: a
/// process that could not even be made is tried again in every mode, within the intensity.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum RestartMode {
    /// Always.
    #[default]
    Permanent,
    /// After a failure: an exit code other than 0, or a signal.
    Transient,
    /// Never.
    Temporary,
}

/// At most `restarts` in any `period`; one more, and the slot gives up. As in OTP, a restart exactly one
/// period old still counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Intensity {
    /// How many restarts are borne. 0: the first exit is one too many.
    pub restarts: u32,
    /// The sliding window in which they are counted.
    pub period: Duration,
}

/// How long a slot rests before its next worker: `first`, then `factor` times as long each time, never longer
/// than `cap`; each rest is jittered by ±`jitter_percent` so that slots do not march in step.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Backoff {
    /// The first rest. Zero is legal: successors start at once, bounded by the intensity alone.
    pub first: Duration,
    /// By how much each rest is longer than the one before.
    pub factor: u32,
    /// The longest rest, before jitter.
    pub cap: Duration,
    /// Jitter in percent of the rest, 0…100.
    pub jitter_percent: u8,
}

/// A set of exit codes: those that end a slot as done, in every restart mode.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct ExitCodes([u64; 4]);

/// What a worker is that never says it is ready.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Overdue {
    /// It counts as ready at the deadline: a queue consumer, say, that never listens.
    #[default]
    CountsAsReady,
    /// Its start has failed: it is killed, and its slot rests.
    Fails,
}

/// Which way of asking comes first when a worker is stopped.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum StopOrder {
    /// Drain; the stop signal at 90 % of the stop timeout, or 200 ms after the worker has drained.
    #[default]
    DrainFirst,
    /// The stop signal; drain at 90 % of the stop timeout.
    SignalFirst,
}

/// Makes a [`Policy`], or says what is wrong with it. Starts from the documented defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct PolicyBuilder(Policy);

/// Why these rules make no policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PolicyError {
    /// There has to be at least one slot.
    NoSlots,
    /// More slots than [`SLOTS_MAX`].
    TooManySlots(u32),
    /// An intensity needs a period in which to count.
    NoPeriod,
    /// A rest may not shrink: the factor is at least 1.
    NoFactor,
    /// The longest rest is shorter than the first.
    CapBelowFirst,
    /// Jitter is 0 to 100 percent.
    TooMuchJitter(u8),
    /// Workers that are too old at once would be recycled without end.
    NoAge,
}

impl Policy {
    /// The documented defaults, for so many slots.
    pub const fn builder(slots: u32) -> PolicyBuilder {
        PolicyBuilder(Self {
            slots,
            restart: RestartMode::Permanent,
            intensity: Intensity { restarts: 5, period: Duration::from_secs(10) },
            backoff: Backoff {
                first: Duration::from_millis(100),
                factor: 2,
                cap: Duration::from_secs(30),
                jitter_percent: 20,
            },
            stable_time: Duration::from_secs(10),
            ready_timeout: Duration::from_secs(30),
            overdue: Overdue::CountsAsReady,
            stop_timeout: Duration::from_secs(10),
            stop_order: StopOrder::DrainFirst,
            stop_exit_codes: ExitCodes::new(&[]),
            max_age: None,
            hang_timeout: Duration::from_secs(30),
        })
    }

    /// How many slots are wanted at first.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// How long a slot rests before its next worker.
    #[must_use]
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// From asking a worker to stop until it is killed.
    #[must_use]
    pub const fn stop_timeout(&self) -> Duration {
        self.stop_timeout
    }

    /// How long a worker may have been ready until it is recycled.
    #[must_use]
    pub const fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// From a worker's start until its readiness is overdue.
    #[must_use]
    pub const fn ready_timeout(&self) -> Duration {
        self.ready_timeout
    }

    /// How long a worker may stand still, and how long a failing one may wait for its replacement.
    #[must_use]
    pub const fn hang_timeout(&self) -> Duration {
        self.hang_timeout
    }
}

impl ExitCodes {
    /// The set of `codes`.
    #[must_use]
    pub const fn new(codes: &[u8]) -> Self {
        let mut bits = [0; 4];
        let mut place = 0;
        while place < codes.len() {
            let code = codes[place];
            bits[(code / 64) as usize] |= 1 << (code % 64);
            place += 1;
        }
        Self(bits)
    }

    /// Whether `code` is one of them. exit(3) keeps eight bits: nothing beyond 255 ever is.
    #[must_use]
    pub fn contains(self, code: i32) -> bool {
        u8::try_from(code).is_ok_and(|code| self.0[usize::from(code / 64)] & (1 << (code % 64)) != 0)
    }
}

impl PolicyBuilder {
    /// How many slots are wanted at first.
    pub const fn slots(mut self, slots: u32) -> Self {
        self.0.slots = slots;
        self
    }

    /// When a worker has a successor. Default: always.
    pub const fn restart(mut self, mode: RestartMode) -> Self {
        self.0.restart = mode;
        self
    }

    /// How many restarts a slot bears. Default: 5 in 10 s.
    pub const fn intensity(mut self, intensity: Intensity) -> Self {
        self.0.intensity = intensity;
        self
    }

    /// How long a slot rests. Default: 100 ms, doubling, at most 30 s, ±20 %.
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.0.backoff = backoff;
        self
    }

    /// How long a worker has to have been ready for its exit to forgive those before it. Default: 10 s.
    pub const fn stable_time(mut self, span: Duration) -> Self {
        self.0.stable_time = span;
        self
    }

    /// How long a start may take, and what it is when it takes longer. Default: 30 s, then it counts as ready.
    pub const fn ready_timeout(mut self, span: Duration, overdue: Overdue) -> Self {
        self.0.ready_timeout = span;
        self.0.overdue = overdue;
        self
    }

    /// What a start is that takes longer than its time. Default: it counts as ready.
    pub const fn overdue(mut self, overdue: Overdue) -> Self {
        self.0.overdue = overdue;
        self
    }

    /// How long a stop may take until the worker is killed. Default: 10 s.
    pub const fn stop_timeout(mut self, span: Duration) -> Self {
        self.0.stop_timeout = span;
        self
    }

    /// Which way of asking comes first. Default: drain.
    pub const fn stop_order(mut self, order: StopOrder) -> Self {
        self.0.stop_order = order;
        self
    }

    /// Exit codes that end a slot as done, whatever the restart mode says. Default: none.
    pub const fn stop_exit_codes(mut self, codes: ExitCodes) -> Self {
        self.0.stop_exit_codes = codes;
        self
    }

    /// How long a worker may have been ready until it is recycled, jittered by ±10 %. Default: for ever.
    pub const fn max_age(mut self, span: Option<Duration>) -> Self {
        self.0.max_age = span;
        self
    }

    /// How long a failing worker may wait for its replacement, once that was asked for. Default: 30 s.
    pub const fn hang_timeout(mut self, span: Duration) -> Self {
        self.0.hang_timeout = span;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// The first rule that makes no sense.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let Policy { slots, intensity, backoff, .. } = self.0;
        if slots == 0 {
            return Err(PolicyError::NoSlots);
        }
        if slots > SLOTS_MAX {
            return Err(PolicyError::TooManySlots(slots));
        }
        if intensity.period.is_zero() {
            return Err(PolicyError::NoPeriod);
        }
        if backoff.factor == 0 {
            return Err(PolicyError::NoFactor);
        }
        if backoff.cap < backoff.first {
            return Err(PolicyError::CapBelowFirst);
        }
        if backoff.jitter_percent > 100 {
            return Err(PolicyError::TooMuchJitter(backoff.jitter_percent));
        }
        if self.0.max_age.is_some_and(|age| age.is_zero()) {
            return Err(PolicyError::NoAge);
        }
        Ok(self.0)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlots => f.write_str("an app needs at least one worker"),
            Self::TooManySlots(slots) => {
                write!(f, "{slots} workers are more than the {SLOTS_MAX} an app can have")
            }
            Self::NoPeriod => f.write_str("an intensity needs a period longer than zero"),
            Self::NoFactor => f.write_str("a backoff factor is at least 1"),
            Self::CapBelowFirst => f.write_str("the longest rest is shorter than the first"),
            Self::NoAge => f.write_str("a largest age is longer than zero"),
            Self::TooMuchJitter(percent) => write!(f, "a jitter of {percent} % is more than 100 %"),
        }
    }
}

impl core::error::Error for PolicyError {}
