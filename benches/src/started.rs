//! A program that was started, with everything that it says, and that surely ends.
//!
//! Owns the process group and, through a mark in the environment, every descendant: dropping it kills them all,
//! by pid. Never kills by name.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{facts, wait};

/// The variable by which descendants are found.
pub const MARK: &str = "CLUSTR_BENCHES_MARK";

/// Killing everything that carries the mark takes so long at most.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Where a line was said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A line that the program said.
#[derive(Clone, Debug)]
pub struct Line {
    /// Where.
    pub stream: Stream,
    /// What, without the end of the line.
    pub bytes: Vec<u8>,
    /// When it was read, by [`monotonic_ns`](crate::load::monotonic_ns).
    pub at_ns: u64,
}

impl Line {
    /// The line as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A program that was started.
#[derive(Debug)]
pub struct Started {
    child: Child,
    mark: String,
    heard: Arc<Heard>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Vec<Line>>,
    arrived: Condvar,
}

impl Heard {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Started {
    /// Starts a command in a process group of its own. Its output is collected, unless it was redirected before.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn new(command: &mut Command) -> Result<Self, String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::with_output(command)
    }

    /// The same, for a command whose output goes where the caller has sent it.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn with_output(command: &mut Command) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}-{}", std::process::id(), crate::load::monotonic_ns());
        let spawned = command.env(MARK, &mark).process_group(0).spawn();
        let mut child = spawned.map_err(|error| format!("could not start {command:?}: {error}"))?;
        let heard = Arc::new(Heard::default());
        let out = child.stdout.take().map(|pipe| listen(pipe, Stream::Out, &heard));
        let err = child.stderr.take().map(|pipe| listen(pipe, Stream::Err, &heard));
        let readers = out.into_iter().chain(err).collect();
        Ok(Self { child, mark: format!("{MARK}={mark}"), heard, readers, status: None })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, unless it has ended.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), String> {
        if self.poll_exit().is_some() {
            return Err("it has ended already".to_owned());
        }
        signal_pid(self.pid(), signal)
    }

    /// Every process that it left running, itself included.
    #[must_use]
    pub fn running(&self) -> Vec<u32> {
        facts::marked(&self.mark)
    }

    /// Everything that it has said so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.heard.lines().clone()
    }

    /// Everything that it has said so far on one stream, as text.
    #[must_use]
    pub fn said(&self, stream: Stream) -> String {
        let lines = self.heard.lines();
        lines.iter().filter(|line| line.stream == stream).map(|line| line.text() + "\n").collect()
    }

    /// Waits until what was said makes `look` see something.
    ///
    /// # Errors
    ///
    /// It does not within `within`; the text has everything that was said.
    pub fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + within;
        let mut lines = self.heard.lines();
        loop {
            if let Some(seen) = look(&lines) {
                return Ok(seen);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("waited {within:?} in vain for: {what}\n{}", transcript(&lines)));
            }
            let woken = self.heard.arrived.wait_timeout(lines, left);
            lines = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for its end, and until all that it said was heard.
    ///
    /// # Errors
    ///
    /// It has not ended within `within`.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus, String> {
        let waited = wait::until("its end", within, || self.poll_exit());
        let status = waited.map_err(|why| format!("{why}\n{}", transcript(&self.heard.lines())))?;
        // Descendants may hold the pipes open for ever: what the program itself said is there at once.
        let _ = wait::until_true("the end of its output", Duration::from_millis(500), || {
            self.readers.iter().all(JoinHandle::is_finished)
        });
        Ok(status)
    }

    /// Waits for its end, which has to have this exit code.
    ///
    /// # Errors
    ///
    /// It has not ended within `within`, or otherwise.
    pub fn expect_exit(&mut self, code: i32, within: Duration) -> Result<(), String> {
        let status = self.wait_exit(within)?;
        if status.code() == Some(code) {
            return Ok(());
        }
        let (how, signal) = (status.code(), status.signal());
        Err(format!(
            "exit code {how:?} signal {signal:?} instead of {code}\n{}",
            transcript(&self.heard.lines())
        ))
    }

    /// Everything that was said, for the text of a failure.
    #[must_use]
    pub fn transcript(&self) -> String {
        transcript(&self.heard.lines())
    }

    fn poll_exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }
}

impl Drop for Started {
    /// Kills it and every descendant, until none is left.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = wait::until_true("the end of its descendants", END_WITHIN, || {
            let left = self.running();
            left.iter().for_each(|pid| drop(signal_pid(*pid, Signal::KILL)));
            left.is_empty()
        });
    }
}

/// Sends a signal to a process.
///
/// # Errors
///
/// There is none.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<(), String> {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no pid")?;
    kill_process(known, signal).map_err(|error| format!("could not signal {pid}: {error}"))
}

fn listen(pipe: impl Read + Send + 'static, stream: Stream, heard: &Arc<Heard>) -> JoinHandle<()> {
    let heard = Arc::clone(heard);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            let line = Line { stream, bytes: std::mem::take(&mut bytes), at_ns: crate::load::monotonic_ns() };
            heard.lines().push(line);
            heard.arrived.notify_all();
        }
    })
}

/// The last lines are enough to see what went wrong.
fn transcript(lines: &[Line]) -> String {
    let from = lines.len().saturating_sub(60);
    let mut text = format!("--- what it said ({} lines, the last {}) ---\n", lines.len(), lines.len() - from);
    for line in &lines[from..] {
        let mark = if line.stream == Stream::Out { "out" } else { "err" };
        text.push_str(&format!("{mark}: {}\n", line.text()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Started {
        Started::new(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn what_it_says_is_heard_and_its_end_is_seen() {
        let mut started = shell("echo out; echo err >&2; exit 3");
        started.expect_exit(3, Duration::from_secs(10)).unwrap();
        assert_eq!(started.said(Stream::Out), "out\n");
        assert_eq!(started.said(Stream::Err), "err\n");
    }

    #[test]
    fn descendants_in_groups_of_their_own_end_with_it() {
        let started = shell("setsid sleep 1000 & setsid sleep 1000 & echo up; wait");
        let up = |lines: &[Line]| lines.iter().any(|line| line.bytes == b"up").then_some(());
        started.wait_for("up", Duration::from_secs(10), up).unwrap();
        let mark = started.mark.clone();
        assert!(facts::marked(&mark).len() >= 2);
        drop(started);
        assert!(facts::marked(&mark).is_empty());
    }

    #[test]
    fn waiting_in_vain_tells_everything_that_was_said() {
        let started = shell("echo something; sleep 1000");
        let something = |lines: &[Line]| (!lines.is_empty()).then_some(());
        started.wait_for("a line", Duration::from_secs(10), something).unwrap();
        let why = started.wait_for("never", Duration::from_millis(20), |_| None::<()>).unwrap_err();
        assert!(why.contains("never") && why.contains("something"), "{why}");
    }
}
