//! Signals as facts: signalfd(2), read by the loop.
//!
//! Owns the signal mask of the primary and what each signal means. Never acts on one.

use std::fs::File;
use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

use crate::config;
use crate::relay::Relay;
use crate::sys;

/// The signals that the primary hears.
const HEARD: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];

/// `si_code` of a signal that the kernel itself sent: sigaction(2).
const SI_KERNEL: i32 = 0x80;

/// What somebody wants with a signal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// TERM, INT: stop gracefully; again: at once.
    Stop,
    /// QUIT: kill, wait for nobody.
    StopAtOnce,
    /// HUP because the controlling terminal is gone: stop gracefully.
    HungUp,
    /// HUP from a person: reload.
    Reload,
    /// TTIN, TTOU from a person: one worker more or fewer.
    ScaleBy(i32),
    /// A child has ended, maybe one that is no worker.
    Child,
    /// A signal that will mean something in a later version.
    NotYet(Signal),
}

#[derive(Debug)]
pub(crate) struct Signals {
    source: Source,
    had_terminal: bool,
}

#[derive(Debug)]
enum Source {
    /// All of them are ours.
    Descriptor(SignalFd),
    /// Those that nobody else wants.
    Relay(Relay),
}

impl Signals {
    /// Hears those that the configuration says, if any.
    pub(crate) fn hear(which: config::Signals) -> io::Result<Option<Self>> {
        match which {
            config::Signals::All => Self::take().map(Some),
            config::Signals::Unclaimed => Ok(Relay::open()?
                .map(|relay| Self { source: Source::Relay(relay), had_terminal: has_terminal() })),
            config::Signals::None => Ok(None),
        }
    }

    /// Blocks the signals in this thread, and in every thread that it starts later. HUP stays ignored where the primary
    /// was started so, by nohup(1); the others are heard always, for a shell without job control starts what runs in
    /// its background with INT and QUIT ignored, and a script's `kill -INT` is meant.
    fn take() -> io::Result<Self> {
        let by_nohup = |signal: &Signal| *signal == Signal::SIGHUP && sys::is_ignored(*signal as i32);
        let mask: SigSet = HEARD.into_iter().filter(|signal| !by_nohup(signal)).collect();
        mask.thread_block()?;
        // A signal that is blocked and ignored may never reach the descriptor: signalfd(2).
        mask.iter().for_each(|signal| sys::set_default(signal as i32));
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { source: Source::Descriptor(fd), had_terminal: has_terminal() })
    }

    /// The next word, if there is one. What has no meaning is skipped.
    pub(crate) fn next(&self) -> io::Result<Option<Word>> {
        while let Some((signal, code)) = self.read()? {
            if let Some(word) = self.meaning(signal, code) {
                return Ok(Some(word));
            }
        }
        Ok(None)
    }

    /// Whether somebody wants an end, asked by a primary that has nothing yet to which another word could be said.
    pub(crate) fn want_end(&self) -> bool {
        let mut words = std::iter::from_fn(|| self.next().ok().flatten());
        words.any(|word| match word {
            Word::Stop | Word::StopAtOnce | Word::HungUp => true,
            Word::Reload | Word::ScaleBy(_) | Word::Child | Word::NotYet(_) => false,
        })
    }

    /// The next signal, and who sent it (`si_code`).
    fn read(&self) -> io::Result<Option<(Signal, i32)>> {
        let fd = match &self.source {
            // A relay takes HUP only where it would end the process, whoever sent it.
            Source::Relay(relay) => return Ok(relay.next().map(|signal| (signal, SI_KERNEL))),
            Source::Descriptor(fd) => fd,
        };
        while let Some(read) = fd.read_signal()? {
            let signal = i32::try_from(read.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            if let Some(signal) = signal {
                return Ok(Some((signal, read.ssi_code)));
            }
        }
        Ok(None)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only the signals in HEARD arrive")]
    fn meaning(&self, signal: Signal, code: i32) -> Option<Word> {
        let by_job_control = code == SI_KERNEL;
        match signal {
            Signal::SIGTERM | Signal::SIGINT => Some(Word::Stop),
            Signal::SIGQUIT => Some(Word::StopAtOnce),
            Signal::SIGHUP if by_job_control || (self.had_terminal && !has_terminal()) => Some(Word::HungUp),
            Signal::SIGHUP => Some(Word::Reload),
            Signal::SIGTTIN if !by_job_control => Some(Word::ScaleBy(1)),
            Signal::SIGTTOU if !by_job_control => Some(Word::ScaleBy(-1)),
            Signal::SIGCHLD => Some(Word::Child),
            Signal::SIGUSR1 | Signal::SIGUSR2 => Some(Word::NotYet(signal)),
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Descriptor(fd) => fd.as_fd(),
            Source::Relay(relay) => relay.as_fd(),
        }
    }
}

/// Whether this process has a controlling terminal: tty(4).
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// A signal's name, `SIGKILL`, or `SIG34` for those without one.
pub(crate) fn name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("SIG{number}"), |signal| signal.as_str().to_owned())
}

/// The signal of this name, with or without its `SIG`, in any case; or of this number.
pub(crate) fn named(text: &str) -> Option<Signal> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let numbered = || text.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    name.parse().ok().or_else(numbered)
}
