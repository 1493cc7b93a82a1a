//! Values of options: parsed, not validated.
//!
//! Owns every form that a value may have, and the words for one that has none of them. Called by clap.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clustr_core::{ExitCodes, Intensity, SLOTS_MAX};
use clustr_supervisor::Signal;
use clustr_supervisor::config::{Probe, ProbeError, ReadyWhen, TimeOfDay, TimeOfDayError, is_variable_name};

use crate::{dotenv, names};

/// The longest time that makes sense here: a day.
const SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest age of a worker that can be meant.
const AGE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The first of the real-time signals, those included that the C library keeps for itself, and the last: signal(7).
const REAL_TIME: u32 = 32;
const SIGNAL_MAX: u32 = 64;

/// The shortest time in which a worker can say again that it is alive.
const WATCHDOG_MIN: Duration = Duration::from_millis(100);

/// Why a text is no value of its option, and what to type instead.
#[derive(Debug)]
pub(crate) enum ValueError {
    /// It makes no sense: why; and a value that does.
    Invalid { why: String, instead: String },
    /// It will, in another version: what to do until then.
    Absent { instead: String },
}

impl ValueError {
    pub(super) fn new(why: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::Invalid { why: why.into(), instead: instead.into() }
    }
}

impl ValueError {
    /// The same for a value that begins with a word.
    fn under(self, word: &str) -> Self {
        match self {
            Self::Invalid { why, instead } => {
                let instead = instead.split(' ').map(|value| match value {
                    "or" => value.to_owned(),
                    value => format!("{word}{value}"),
                });
                Self::Invalid { why, instead: instead.collect::<Vec<_>>().join(" ") }
            }
            Self::Absent { .. } => self,
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { why, .. } => f.write_str(why),
            Self::Absent { .. } => f.write_str("not in this version"),
        }
    }
}

impl std::error::Error for ValueError {}

/// How many workers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Workers {
    /// As many as there are CPUs for this process.
    Auto,
    /// So many.
    Count(u32),
}

/// `4`, `auto`.
pub(crate) fn workers(text: &str) -> Result<Workers, ValueError> {
    match (text, text.parse::<u32>()) {
        ("auto", _) => Ok(Workers::Auto),
        (_, Ok(0)) => Err(ValueError::new("an app needs at least one worker", "1 or auto")),
        (_, Ok(count)) if count > SLOTS_MAX => {
            Err(ValueError::new(format!("an app has at most {SLOTS_MAX} workers"), SLOTS_MAX.to_string()))
        }
        (_, Ok(count)) => Ok(Workers::Count(count)),
        (_, Err(_)) => Err(ValueError::new("it is neither a number nor 'auto'", "4 or auto")),
    }
}

/// How many workers there shall be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ScaleTarget {
    /// Exactly so many.
    To(u32),
    /// So many more, or fewer.
    By(i32),
}

/// `4`, `+2`, `-1`. Whether there may be so many is the primary's to say.
pub(crate) fn scale_target(text: &str) -> Result<ScaleTarget, ValueError> {
    let relative = text.starts_with(['+', '-']);
    let parsed = if relative {
        text.parse().ok().filter(|by| *by != 0).map(ScaleTarget::By)
    } else {
        text.parse().ok().map(ScaleTarget::To)
    };
    parsed
        .ok_or_else(|| ValueError::new("it is not a number of workers, nor of more or fewer", "4, +2 or -1"))
}

/// `0`: the number of a slot. Whether there is one is the primary's to say.
pub(crate) fn slot(text: &str) -> Result<u32, ValueError> {
    text.parse().map_err(|_| ValueError::new("it is no slot: those are numbered from 0 on", "0"))
}

/// `2`: so many slots, at least one.
pub(crate) fn slots(text: &str) -> Result<u32, ValueError> {
    text.parse()
        .ok()
        .filter(|slots| *slots > 0)
        .ok_or_else(|| ValueError::new("it is not a number of workers", "1"))
}

/// `500ms`, `10s`, `2m`, and `0s`.
pub(crate) fn span(text: &str) -> Result<Duration, ValueError> {
    let span = humantime::parse_duration(text).map_err(|error| no_span(text, &error))?;
    if span > SPAN_MAX {
        return Err(ValueError::new("that is longer than a day", "24h"));
    }
    Ok(span)
}

/// The same, but not zero.
pub(crate) fn some_span(text: &str) -> Result<Duration, ValueError> {
    match span(text)? {
        Duration::ZERO => Err(ValueError::new("it has to be longer than zero", "10s")),
        span => Ok(span),
    }
}

/// How often a worker says that it is alive: as often as one that is busy can.
pub(crate) fn watchdog(text: &str) -> Result<Duration, ValueError> {
    match span(text)? {
        span if span < WATCHDOG_MIN => Err(ValueError::new(
            format!(
                "a worker cannot be counted on that often: at least {}",
                humantime::format_duration(WATCHDOG_MIN)
            ),
            "10s",
        )),
        span => Ok(span),
    }
}

/// How long a worker may stand still.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HangTimeout {
    /// So long.
    After(Duration),
    /// Nobody looks.
    Off,
}

/// `30s`, `off`.
pub(crate) fn hang_timeout(text: &str) -> Result<HangTimeout, ValueError> {
    match text {
        "off" => Ok(HangTimeout::Off),
        _ => match span(text)? {
            Duration::ZERO => Err(ValueError::new("it has to be longer than zero", "30s, or off")),
            span => Ok(HangTimeout::After(span)),
        },
    }
}

fn no_span(text: &str, error: &humantime::DurationError) -> ValueError {
    if text.parse::<f64>().is_ok() {
        return ValueError::new("it has no unit", format!("{text}s or {text}ms"));
    }
    ValueError::new(format!("it is not a time: {error}"), "500ms, 10s or 2m")
}

/// `auto`, `listen`, `message`, `notify`, `delay:1s`, and every [`probe`].
pub(crate) fn ready(text: &str) -> Result<ReadyWhen, ValueError> {
    match text {
        "auto" => Ok(ReadyWhen::Auto),
        "listen" => Ok(ReadyWhen::Listen),
        "message" => Ok(ReadyWhen::Message),
        "notify" => Ok(ReadyWhen::Notify),
        _ => match text.strip_prefix("delay:") {
            Some(time) => span(time).map(ReadyWhen::Delay).map_err(|error| error.under("delay:")),
            None => text.parse().map(ReadyWhen::Probe).map_err(|error| {
                if error != ProbeError::Kind {
                    return no_probe(&error);
                }
                ValueError::new(
                    "it is none of the words that are known here",
                    "auto, listen, message, notify, http:/health, tcp:9000+slot, exec:COMMAND, delay:1s",
                )
            }),
        },
    }
}

/// `http:/health`, `tcp:9000`, `tcp:9000+slot`, `exec:COMMAND`.
pub(crate) fn probe(text: &str) -> Result<Probe, ValueError> {
    text.parse().map_err(|error| no_probe(&error))
}

fn no_probe(error: &ProbeError) -> ValueError {
    ValueError::new(error.to_string(), error.hint())
}

/// `400M`, `400MB`, `1.5G`: a size in bytes, in steps of 1,000 as `clustr status` shows them; `300MiB`: in steps of 1,024.
pub(crate) fn size(text: &str) -> Result<u64, ValueError> {
    let fault = || ValueError::new("it is no size", "400M or 1.5G");
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(fault)?;
    let (number, unit) = text.split_at(split);
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (letter, step) = unit.strip_suffix('i').map_or((unit, 1000_u64), |letter| (letter, 1024));
    let power = ["k", "m", "g", "t"].iter().position(|known| *known == letter).ok_or_else(fault)?;
    let factor = (0..=power).fold(1, |factor, _| factor * step);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| fault())?;
    let tenths: u64 = part.parse().ok().filter(|_| part.len() == 1).ok_or_else(fault)?;
    let bytes = whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(factor / 10 * tenths));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(fault)
}

/// `12h`, `7days`: longer than other times may be.
pub(crate) fn age(text: &str) -> Result<Duration, ValueError> {
    let age = humantime::parse_duration(text).map_err(|error| no_span(text, &error))?;
    if age.is_zero() || age > AGE_MAX {
        return Err(ValueError::new("an age is longer than zero and at most a year", "12h or 7days"));
    }
    Ok(age)
}

/// `100000`: at least one.
pub(crate) fn requests(text: &str) -> Result<NonZeroU64, ValueError> {
    text.parse().map_err(|_| ValueError::new("it is not a number from 1 on", "100000"))
}

/// `04:30`.
pub(crate) fn time_of_day(text: &str) -> Result<TimeOfDay, ValueError> {
    text.parse().map_err(|error: TimeOfDayError| ValueError::new(error.to_string(), "04:30"))
}

/// `3`: at least one.
pub(crate) fn count(text: &str) -> Result<NonZeroU32, ValueError> {
    text.parse().map_err(|_| ValueError::new("it is not a number from 1 on", "3"))
}

/// `5/10s`: at most 5 restarts in any 10 seconds.
pub(crate) fn intensity(text: &str) -> Result<Intensity, ValueError> {
    let fault = || ValueError::new("it is not RESTARTS/PERIOD", "5/10s");
    let (restarts, period) = text.split_once('/').ok_or_else(fault)?;
    let restarts = restarts.parse().map_err(|_| fault())?;
    let period = some_span(period).map_err(|error| ValueError::new(error.to_string(), "5/10s"))?;
    Ok(Intensity { restarts, period })
}

/// `USR2`, `SIGUSR2`, `12`: its name, as the control protocol has it.
pub(crate) fn signal(text: &str) -> Result<String, ValueError> {
    Ok(some_signal(text, "HUP, USR1 or USR2")?.as_str().trim_start_matches("SIG").to_owned())
}

fn some_signal(text: &str, instead: &str) -> Result<Signal, ValueError> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let numbered = || text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    let signal = Signal::from_str(&name).ok().or_else(numbered);
    signal.ok_or_else(|| {
        let is_real_time = name.starts_with("SIGRT") || matches!(text.parse(), Ok(REAL_TIME..=SIGNAL_MAX));
        let why = if is_real_time {
            "it is a real-time signal, and clustr sends those from 1 to 31 alone"
        } else {
            "there is no such signal"
        };
        ValueError::new(why, instead)
    })
}

/// `0,78`: exit codes.
pub(crate) fn exit_codes(text: &str) -> Result<ExitCodes, ValueError> {
    let fault = || ValueError::new("exit codes are numbers from 0 to 255, with commas between them", "0,78");
    let codes: Result<Vec<u8>, _> = text.split(',').map(|code| code.trim().parse()).collect();
    Ok(ExitCodes::new(&codes.map_err(|_| fault())?))
}

/// `TERM`, `SIGTERM`, `15`.
pub(crate) fn stop_signal(text: &str) -> Result<Signal, ValueError> {
    let signal = some_signal(text, "TERM, INT or QUIT")?;
    if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
        return Err(ValueError::new("no program can hear it", "TERM; to kill at once: --stop-timeout 0s"));
    }
    Ok(signal)
}

/// `NAME=VALUE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Variable(pub(crate) OsString, pub(crate) OsString);

/// `NAME=VALUE`, where the value may be any text.
pub(crate) fn variable(text: &str) -> Result<Variable, ValueError> {
    let fault = |why: &str| ValueError::new(why, "NAME=VALUE");
    let (name, value) = text.split_once('=').ok_or_else(|| fault("there is no '='"))?;
    if !is_variable_name(name) {
        return Err(fault(dotenv::Fault::Name.text()));
    }
    Ok(Variable(name.into(), value.into()))
}

/// A port.
pub(crate) fn port(text: &str) -> Result<u16, ValueError> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| ValueError::new("it is no number from 1 to 65535", "3001"))
}

/// A name of an app and its primary.
pub(crate) fn name(text: &str) -> Result<String, ValueError> {
    if names::is_legal(text) {
        return Ok(text.to_owned());
    }
    let why =
        "a name is at most 64 letters, digits, '.', '_' and '-', and begins with a letter, a digit or '_'";
    Err(ValueError::new(why, "shop"))
}

/// One of a few words: those of this version, other names for them, and those of another version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<T: 'static> {
    /// The words, as help and completions show them.
    pub(crate) now: &'static [(&'static str, T)],
    /// Other names for the same.
    pub(crate) also: &'static [(&'static str, T)],
    /// Words (or how they begin) of another version, and what to do until then.
    pub(crate) later: &'static [(&'static str, &'static str)],
}

impl<T: Copy> Choice<T> {
    fn find(&self, text: &str) -> Result<T, ValueError> {
        if let Some((_, value)) = self.now.iter().chain(self.also).find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let begins = |word: &str| text == word || (word.ends_with(':') && text.starts_with(word));
        if let Some((_, instead)) = self.later.iter().find(|(word, _)| begins(word)) {
            return Err(ValueError::Absent { instead: (*instead).to_owned() });
        }
        let words: Vec<&str> = self.now.iter().map(|(word, _)| *word).collect();
        Err(ValueError::new("it is none of the words that are known here", words.join(", ")))
    }
}

impl<T: Copy + PartialEq + Send + Sync + 'static> TypedValueParser for Choice<T> {
    type Value = T;

    fn parse_ref(
        &self,
        cmd: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let choice = *self;
        (move |text: &str| choice.find(text)).parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let also = |value: &T| {
            let value = *value;
            self.also.iter().filter(move |(_, other)| *other == value).map(|(word, _)| *word)
        };
        Some(Box::new(
            self.now.iter().map(move |(word, value)| PossibleValue::new(*word).aliases(also(value))),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_humane_and_bounded() {
        assert_eq!(span("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(span("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(span("1m 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(span("0ms").unwrap(), Duration::ZERO);
        assert_eq!(span("24h").unwrap(), SPAN_MAX);
        for text in ["", "10", "1.5", "-1s", "10 parsecs", "25h", "99999999999999999999s", "s"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(some_span("0s").is_err());
    }

    #[test]
    fn a_time_without_a_unit_is_told_which() {
        let error = span("10").unwrap_err();
        assert!(matches!(error, ValueError::Invalid { instead, .. } if instead == "10s or 10ms"));
    }

    #[test]
    fn an_intensity_is_a_number_and_a_period() {
        assert_eq!(intensity("5/10s").unwrap(), Intensity { restarts: 5, period: Duration::from_secs(10) });
        assert_eq!(intensity("0/1m").unwrap(), Intensity { restarts: 0, period: Duration::from_secs(60) });
        for text in ["5", "5/", "/10s", "5/10", "5/0s", "-1/10s", "x/10s", "5/10s/2"] {
            assert!(intensity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn workers_are_counted_or_automatic() {
        assert_eq!(workers("auto").unwrap(), Workers::Auto);
        assert_eq!(workers("1024").unwrap(), Workers::Count(1024));
        for text in ["0", "1025", "-1", "four", "", "2.5", "max"] {
            assert!(workers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scale_is_absolute_or_relative() {
        assert_eq!(scale_target("4").unwrap(), ScaleTarget::To(4));
        assert_eq!(scale_target("0").unwrap(), ScaleTarget::To(0));
        assert_eq!(scale_target("+2").unwrap(), ScaleTarget::By(2));
        assert_eq!(scale_target("-1").unwrap(), ScaleTarget::By(-1));
        for text in ["", "+", "-", "+0", "++1", "--1", "x", "99999999999"] {
            assert!(scale_target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(stop_signal(text).unwrap(), Signal::SIGTERM, "{text}");
        }
        for text in ["", "SIG", "KILL", "9", "STOP", "FOO", "0", "99"] {
            assert!(stop_signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn any_signal_may_be_sent_and_goes_by_its_name() {
        for text in ["USR2", "SIGUSR2", "sigusr2", "12"] {
            assert_eq!(signal(text).unwrap(), "USR2", "{text}");
        }
        assert_eq!(signal("KILL").unwrap(), "KILL");
        assert!(signal("FOO").is_err() && signal("0").is_err() && signal("").is_err());
    }

    #[test]
    fn a_real_time_signal_is_known_and_refused_as_one() {
        for text in ["64", "34", "SIGRTMIN+3", "rtmax"] {
            assert!(signal(text).unwrap_err().to_string().contains("real-time"), "{text}");
        }
        assert!(!signal("65").unwrap_err().to_string().contains("real-time"));
    }

    #[test]
    fn a_watchdog_leaves_a_worker_the_time_to_speak() {
        assert_eq!(watchdog("100ms").unwrap(), WATCHDOG_MIN);
        assert!(watchdog("99ms").is_err() && watchdog("0s").is_err());
    }

    #[test]
    fn exit_codes_are_a_list() {
        let codes = exit_codes("0,78").unwrap();
        assert!(codes.contains(0) && codes.contains(78) && !codes.contains(1));
        for text in ["", "256", "-1", "0,", "a", "0;78"] {
            assert!(exit_codes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_and_at_most_one_digit_after_the_point() {
        assert_eq!(size("400M").unwrap(), 400_000_000);
        assert_eq!(size("1.5GB").unwrap(), 1_500_000_000);
        assert_eq!(size("300MiB").unwrap(), 300 << 20);
        assert_eq!(size("8Ki").unwrap(), 8192);
        for text in ["", "400", "0M", "M", "1.25G", "1.G", ".5G", "-1M", "1X", "4 M", "99999999999T", "1MM"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_may_be_longer_than_a_day() {
        assert_eq!(age("7days").unwrap(), Duration::from_secs(7 * 86_400));
        for text in ["", "0s", "12", "2years"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn readiness_is_a_word_a_delay_or_a_probe() {
        assert_eq!(ready("notify").unwrap(), ReadyWhen::Notify);
        assert_eq!(ready("delay:1500ms").unwrap(), ReadyWhen::Delay(Duration::from_millis(1500)));
        assert!(matches!(ready("exec:true").unwrap(), ReadyWhen::Probe(Probe::Exec(_))));
        for text in ["", "soon", "delay", "delay:", "delay:1", "http:x", "tcp:x", "exec:"] {
            assert!(ready(text).is_err(), "{text}");
        }
        let Err(ValueError::Invalid { instead, .. }) = ready("delay:2") else { panic!() };
        assert_eq!(instead, "delay:2s or delay:2ms");
    }

    #[test]
    fn a_variable_may_hold_anything_behind_its_name() {
        assert_eq!(variable("A=b=c").unwrap(), Variable("A".into(), "b=c".into()));
        assert_eq!(variable("A=").unwrap(), Variable("A".into(), "".into()));
        for text in ["A", "=b", "1A=b", "A B=c"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }
}
