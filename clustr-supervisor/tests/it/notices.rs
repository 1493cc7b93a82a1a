//! sd_notify, both ways.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clustr_net::notify::{Inbox, Outbox, SOCKET_VARIABLE, Word};
use clustr_supervisor::config::{ReadyWhen, Share};

use crate::deliveries::{ask, listening};
use crate::fixture::{DEADLINE, Primary};
use crate::probes::{FOLDER, News};

/// What a worker of these tests does when it is asked to.
pub(crate) fn say_ready() {
    let socket = std::env::var_os(SOCKET_VARIABLE).unwrap();
    Outbox::new(&socket).unwrap().ready("serving").unwrap();
}

/// What a watched worker does: it says that it is alive, as often as it shall. The first of slot 0 does not while there is a
/// file `silent`; another of that slot is not ready while there is a file `unready`.
pub(crate) fn feed() {
    let micros: u64 = std::env::var("WATCHDOG_USEC").unwrap().parse().unwrap();
    assert_eq!(std::env::var("WATCHDOG_PID").unwrap(), std::process::id().to_string());
    let above = Outbox::new(&std::env::var_os(SOCKET_VARIABLE).unwrap()).unwrap();
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (slot, incarnation) = (number("CLUSTR_SLOT"), number("CLUSTR_INCARNATION"));
    let moment = || std::thread::park_timeout(Duration::from_micros(micros / 40));
    while slot == 0 && incarnation > 1 && folder.join("unready").exists() {
        moment();
    }
    above.ready("serving").unwrap();
    loop {
        if (slot, incarnation) != (0, 1) || !folder.join("silent").exists() {
            // One word in time is enough; a primary that gets no turn has its queue full of them.
            let _ = above.alive();
        }
        moment();
    }
}

/// So long may a worker that speaks be kept from the CPU, less a fortieth.
const WATCHDOG: Duration = Duration::from_secs(2);

/// Two watched workers, in whose folder there are these files.
fn watched(files: &[&str]) -> (Primary, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let path = folder.path().to_owned();
    let primary = Primary::start_with(2, |config| {
        listening(Share::PerWorker, "watched")(config);
        config.program.env.push((FOLDER.into(), path.into()));
        config.ready = ReadyWhen::Notify;
        config.watchdog = Some(WATCHDOG);
    });
    (primary, folder)
}

#[test]
fn a_worker_that_is_silent_for_too_long_is_replaced_and_one_that_is_not_stays() {
    let (primary, folder) = watched(&[]);
    let (mut news, pids) = (News::of(&primary), primary.pids());
    assert_eq!(primary.status()["apps"][0]["workers"][0]["status_text"], "serving");
    std::fs::write(folder.path().join("silent"), "").unwrap();
    let failing = news.next(&["failing", "exited"]);
    assert_eq!((&failing["slot"], &failing["ailment"]), (&0.into(), &"watchdog".into()), "{failing}");
    let renewed = news.next(&["renewed", "recovered"]);
    assert_eq!((&renewed["news"], &renewed["slot"]), (&"renewed".into(), &0.into()), "{renewed}");
    assert_eq!((&renewed["by"], &renewed["ready"]), (&2.into(), &true.into()), "{renewed}");
    let exited = news.next(&["exited"]);
    assert_eq!((&exited["pid"], &exited["expected"]), (&pids[0].into(), &true.into()), "{exited}");
    let now = primary.pids();
    assert_eq!((now.len(), now[1]), (2, pids[1]), "{now:?}");
}

#[test]
fn a_worker_that_speaks_again_before_its_replacement_is_ready_keeps_its_place() {
    let (primary, folder) = watched(&["unready"]);
    let (mut news, pids) = (News::of(&primary), primary.pids());
    std::fs::write(folder.path().join("silent"), "").unwrap();
    assert_eq!(news.next(&["failing", "exited"])["slot"], 0);
    assert_eq!(news.next(&["started", "exited"])["incarnation"], 2);
    std::fs::remove_file(folder.path().join("silent")).unwrap();
    let recovered = news.next(&["recovered", "renewed", "exited"]);
    assert_eq!((&recovered["news"], &recovered["slot"]), (&"recovered".into(), &0.into()), "{recovered}");
    let exited = news.next(&["exited"]);
    assert_eq!((&exited["slot"], &exited["incarnation"]), (&0.into(), &2.into()), "{exited}");
    assert_eq!(primary.pids(), pids);
}

/// The socket that a worker was told of, as procfs shows it.
fn socket_of(pid: u64) -> Option<Outbox> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(format!("{SOCKET_VARIABLE}=").as_bytes()))?;
    Outbox::new(OsStr::from_bytes(value)).ok()
}

#[test]
fn a_worker_is_ready_when_it_says_so_and_not_when_a_stranger_does() {
    let primary = Primary::begin_with(1, |config| {
        listening(Share::Shared, "notices")(config);
        config.ready = ReadyWhen::Notify;
    });
    let pids = primary.pids();
    socket_of(pids[0]).unwrap().ready("I am it, believe me").unwrap();
    // Control comes after notices in a turn, so by the answer the stranger has been heard.
    assert_eq!(primary.status()["apps"][0]["ready"], 0);
    ask(primary.address(), "say ready");
    primary.wait_until_running();
}

#[test]
fn whoever_supervises_the_primary_is_told_how_it_is() {
    let above = Inbox::at_abstract(format!("clustr-test-{}", std::process::id()).as_bytes()).unwrap();
    let primary = Primary::start_with(1, |config| {
        config.above.notify_socket = Some(above.value().to_owned());
        config.above.watchdog = Some(Duration::from_millis(20));
    });
    let mut told = Vec::new();
    hear(&above, &mut told, &Word::Ready);
    hear(&above, &mut told, &Word::Alive);
    drop(primary);
    hear(&above, &mut told, &Word::Stopping);
    assert!(told.contains(&Word::Status("ready workers: 1".into())), "{told:?}");
}

/// Reads until the word has come.
pub(crate) fn hear(inbox: &Inbox, told: &mut Vec<Word>, awaited: &Word) {
    let began = Instant::now();
    while !told.contains(awaited) {
        assert!(began.elapsed() < DEADLINE, "{awaited:?} has not come: {told:?}");
        match inbox.recv().unwrap() {
            Some(heard) => told.extend(heard.message.words),
            None => std::thread::yield_now(),
        }
    }
}
