//! What is asked of every program: four workers that serve, kill -9 of one, reloads under load, and nobody sees it.
//!
//! Owns the order of the trial and what counts as a failure of it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clustr_benches::load::Tally;
use clustr_benches::started::signal_pid;
use clustr_benches::{facts, wait};
use rustix::process::Signal;

use crate::clients::{Load, Target, ask, ask_all};
use crate::harness::{Outcome, Primary, Run, SOON, ensure, of_kind, v4};
use crate::table::{Changes, Place, Program, SERVERS, Site};

const WORKERS: usize = 4;

/// Before and after the kill.
const REQUESTS: u64 = 200;

/// Under the reloads.
const CLIENTS: usize = 12;

/// Four at a time: a virtual machine of Java compiles its source first, on whatever processor is left.
const STARTED_WITHIN: Duration = Duration::from_secs(100);

/// Between two looks at who has accepted.
const HELD_AT_A_TIME: usize = 12;

/// Whoever is not let in by then is not needed.
const A_MOMENT: Duration = Duration::from_millis(300);

/// Bound: so many connections are held, or asked, until each worker has had one.
const HELD_MAX: usize = 512;

/// What was seen.
pub(crate) struct Found {
    served_by: usize,
    kill: Tally,
    reloads: Option<Tally>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {WORKERS} | {} of {} | ", self.served_by, self.kill.failed(), self.kill.issued)?;
        match &self.reloads {
            Some(tally) => write!(f, "{} of {}", tally.failed(), tally.issued),
            None => f.write_str("-"),
        }
    }
}

/// Two hundred requests, a killed worker, two hundred more; then two reloads under load.
pub(crate) fn lives(program: &Program) -> Result<Found, String> {
    let run = Run::new(&[]);
    let site = site(&run)?;
    let target = target(program, &site);
    let words = program.words(&site)?;
    let mut primary = prepared(run, &site, &words).start()?;
    let result = go_through(program, &mut primary, &target);
    result.map_err(|why| format!("{why}\n{}", primary.started.transcript()))
}

fn go_through(program: &Program, primary: &mut Primary, target: &Target) -> Result<Found, String> {
    ready(primary, WORKERS)?;
    let app = primary.status()?["apps"][0].clone();
    ensure!(app["delivery"][0] == "intercept", "not delivered by an intercepted bind: {app}");
    each_is_served_by(program, primary, target)?;
    let mut kill = ask_all(target, program.speech, REQUESTS, 4);
    kill_one(program, primary)?;
    add(&mut kill, &ask_all(target, program.speech, REQUESTS, 4));
    ensure!(kill.failed() == 0, "before and after kill -9: {kill}");
    ready(primary, WORKERS + 1)?;
    let served_by = each_is_served_by(program, primary, target)?;
    let reloads = reloaded_twice(program, primary, target)?;
    each_is_served_by(program, primary, target)?;
    primary.stop()?;
    Ok(Found { served_by, kill, reloads })
}

/// A folder of its own with all the servers in it, and where they shall listen.
fn site(run: &Run) -> Result<Site, String> {
    let folder = run.folder().join("servers");
    let copied = fs::create_dir_all(&folder).and_then(|()| {
        for file in fs::read_dir(SERVERS)?.flatten() {
            fs::copy(file.path(), folder.join(file.file_name()))?;
        }
        Ok(())
    });
    copied.map_err(|error| format!("'{}': {error}", folder.display()))?;
    Ok(Site { path: folder.join("socket"), folder, port: run.port() })
}

fn prepared(run: Run, site: &Site, words: &[String]) -> Run {
    let folder = site.folder.to_string_lossy().into_owned();
    run.workers(4)
        .options(&["--cwd", &folder, "--ready-timeout", "100s", "--stop-timeout", "8s"])
        // Caches of what is started: for this run alone.
        .env("HOME", &folder)
        .env("XDG_CACHE_HOME", &folder)
        .command(words)
}

fn target(program: &Program, site: &Site) -> Target {
    match program.place {
        Place::Port => Target::Tcp(v4(site.port)),
        Place::Datagrams => Target::Datagrams(v4(site.port)),
        Place::Path => Target::Path(site.path.clone()),
    }
}

fn ready(primary: &Primary, count: usize) -> Outcome {
    let what = format!("{count} workers that became ready");
    let enough = |news: &[serde_json::Value]| (of_kind(news, "ready").count() >= count).then_some(());
    primary.wait_news(&what, STARTED_WITHIN, enough)
}

/// Its workers, once none but those that serve are left.
fn settled(primary: &Primary) -> Result<Vec<u32>, String> {
    wait::until("none but workers that serve", STARTED_WITHIN, || {
        let app = primary.status().ok()?["apps"][0].clone();
        let workers = app["workers"].as_array()?;
        let all_serve = workers.len() == WORKERS && workers.iter().all(|worker| worker["state"] == "ready");
        let pid = |worker: &serde_json::Value| u32::try_from(worker["pid"].as_u64()?).ok();
        all_serve.then(|| workers.iter().filter_map(pid).collect())
    })
}

/// How many workers serve: all, or this waits in vain.
fn each_is_served_by(program: &Program, primary: &Primary, target: &Target) -> Result<usize, String> {
    match target {
        Target::Tcp(address) => each_accepts(primary, *address),
        Target::Datagrams(_) | Target::Path(_) => each_answers(program, primary, target),
    }
}

/// Holds connections until each worker has accepted one: the kernel tells whose they are.
fn each_accepts(primary: &Primary, address: SocketAddr) -> Result<usize, String> {
    let mut held = Vec::new();
    let workers = settled(primary)?;
    let mut served = 0;
    wait::until_true("a connection of each worker", STARTED_WITHIN, || {
        // Several at a time: a look takes long where the machine has many connections. A queue of five may be full.
        let more = if held.len() < HELD_MAX { HELD_AT_A_TIME } else { 0 };
        held.extend((0..more).flat_map(|_| TcpStream::connect_timeout(&address, A_MOMENT)));
        // Looked at each time: some have still to start who accepts.
        served = workers.iter().filter(|worker| accepts(&family(**worker), &held)).count();
        served == WORKERS
    })
    .map_err(|why| format!("{why}; {served} of {WORKERS} have one"))?;
    Ok(served)
}

/// A process and all that it has started, however far down.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        all.extend(facts::children(*pid));
        at += 1;
    }
    all
}

fn accepts(family: &[u32], held: &[TcpStream]) -> bool {
    let theirs: BTreeSet<u16> = family.iter().copied().flat_map(facts::client_ports).collect();
    held.iter().filter_map(|stream| stream.local_addr().ok()).any(|address| theirs.contains(&address.port()))
}

/// Asks until each worker has answered: these answer with their pid.
fn each_answers(program: &Program, primary: &Primary, target: &Target) -> Result<usize, String> {
    let pids: BTreeSet<String> = settled(primary)?.iter().map(u32::to_string).collect();
    let mut served = BTreeSet::new();
    for _ in 0..HELD_MAX {
        let answer = ask(target, program.speech).map_err(|kind| format!("not answered: {kind:?}"))?;
        served.insert(answer);
        if served.len() == WORKERS {
            ensure!(served == pids, "answered by {served:?}, and the workers are {pids:?}");
            return Ok(served.len());
        }
    }
    Err(format!("{HELD_MAX} answers, and all by {served:?} of {pids:?}"))
}

/// Who has nothing in hand is killed: nobody may notice.
fn kill_one(program: &Program, primary: &Primary) -> Outcome {
    let victim = *settled(primary)?.first().ok_or("no worker")?;
    let family = family(victim);
    signal_pid(victim, Signal::KILL)?;
    // What it had started goes with it a moment later, and with that what it may have accepted in the moment.
    wait::until_true("the end of a killed worker", SOON, || !family.iter().any(|pid| facts::lives(*pid)))?;
    match program.changes {
        Changes::AreNotSeen | Changes::TakeWhatWasAccepted => Ok(()),
        Changes::LeaveAGap | Changes::MayBeSeen => ready(primary, WORKERS + 1),
    }
}

/// What became of requests during two reloads; nothing where nothing is promised.
fn reloaded_twice(program: &Program, primary: &Primary, target: &Target) -> Result<Option<Tally>, String> {
    if program.changes == Changes::MayBeSeen {
        primary.clustr(&["reload", "--settle", "0s"])?;
        return Ok(None);
    }
    let before = settled(primary)?;
    let load = Load::start(target, program.speech, CLIENTS);
    for _ in 0..2 {
        load.answers(50)?;
        primary.clustr(&["reload", "--settle", "0s"])?;
    }
    load.answers(50)?;
    let tally = load.stop();
    let lost = match program.changes {
        Changes::AreNotSeen => tally.failed(),
        Changes::TakeWhatWasAccepted => tally.refused + tally.timed_out,
        Changes::LeaveAGap => tally.timed_out,
        Changes::MayBeSeen => 0,
    };
    ensure!(lost == 0, "two reloads: {tally}");
    let after = settled(primary)?;
    ensure!(before.iter().all(|pid| !after.contains(pid)), "{before:?}, then {after:?}");
    Ok(Some(tally))
}

fn add(sum: &mut Tally, more: &Tally) {
    sum.issued += more.issued;
    sum.success += more.success;
    sum.refused += more.refused;
    sum.reset += more.reset;
    sum.timed_out += more.timed_out;
    sum.truncated += more.truncated;
}
