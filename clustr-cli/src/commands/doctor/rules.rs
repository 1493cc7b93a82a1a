//! What the facts mean: one small rule a line of the report.
//!
//! Owns the thresholds, the words, and the command that mends what is wrong. Pure: never looks at anything but [`Facts`]. Called by
//! `doctor`.

use std::path::Path;

use clustr_net::intercept::{Lack, Way};
use serde::Serialize;

use super::facts::{Above, Cgroup, Facts, Folder, Limit};
use super::ports::{Holder, Port, Primary, State};
use crate::names::shell_line;

/// How good it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// clustr works, and something of it does not, or not as well as it could.
    Warn,
    /// What was asked for does not work.
    Fail,
}

impl Level {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A line of the report.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(super) struct Check {
    /// What was looked at: a stable name.
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) detail: String,
    /// What to type, to mend it.
    pub(super) mend: Option<String>,
}

/// What a rule says: how good, why, and what mends it.
type Verdict = (Level, String, Option<String>);
type Rule = fn(&Facts) -> Vec<Verdict>;

/// In the order of the report.
const RULES: [(&str, Rule); 15] = [
    ("kernel", |facts| vec![kernel(&facts.kernel)]),
    ("pidfd", |facts| vec![pidfd(&facts.pidfd)]),
    ("interception", |facts| vec![interception(&facts.interception)]),
    ("cgroup", |facts| vec![cgroup(&facts.cgroup)]),
    ("cpus", |facts| vec![cpus(facts)]),
    ("open files", |facts| vec![files(facts.files)]),
    ("processes", |facts| vec![processes(facts)]),
    ("somaxconn", |facts| vec![queue("net.core.somaxconn", facts.accept_queue, "in an accept queue")]),
    ("syn backlog", |facts| {
        vec![queue("net.ipv4.tcp_max_syn_backlog", facts.syn_backlog, "handshakes under way")]
    }),
    ("migrate req", |facts| vec![migrates(facts.migrates)]),
    ("started by", |facts| vec![above(&facts.above)]),
    ("runtime folder", |facts| vec![folder(&facts.folder)]),
    ("primaries", |facts| primaries(&facts.primaries)),
    ("file", |facts| file(facts).into_iter().collect()),
    ("address", |facts| facts.ports.iter().map(port).collect()),
];

/// The report.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let said = |(check, rule): &(&'static str, Rule)| {
        let check = *check;
        let verdicts = rule(facts).into_iter();
        verdicts.map(move |(level, detail, mend)| Check { check, level, detail, mend }).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(said).collect()
}

fn ok(detail: impl Into<String>) -> Verdict {
    (Level::Ok, detail.into(), None)
}

fn warn(detail: impl Into<String>, mend: impl Into<String>) -> Verdict {
    (Level::Warn, detail.into(), Some(mend.into()))
}

fn fail(detail: impl Into<String>, mend: impl Into<String>) -> Verdict {
    (Level::Fail, detail.into(), Some(mend.into()))
}

const UPDATE: &str = "a newer kernel: your distribution's, and a reboot";

fn kernel(release: &str) -> Verdict {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= (5, 9) => ok(release),
        (Some(major), Some(minor)) if (major, minor) >= (5, 3) => {
            warn(format!("{release}: a program's own bind can be shared from 5.9 on"), UPDATE)
        }
        (Some(_), Some(_)) => fail(format!("{release}: clustr needs 5.3"), UPDATE),
        _ => warn("its release cannot be read", "mount -t proc proc /proc"),
    }
}

fn pidfd(found: &Result<(), String>) -> Verdict {
    match found {
        Ok(()) => ok("processes are held by descriptors"),
        Err(why) => fail(format!("no process can be held by a descriptor: {why}"), UPDATE),
    }
}

fn interception(found: &Result<Way, Lack>) -> Verdict {
    match found {
        Ok(Way::Adopt) => ok("adopt: a program's own bind is shared by the very socket it made"),
        Ok(way @ Way::Replace { .. }) => ok(format!(
            "replace: a socket of the same kind is put in the place of a program's own ({})",
            way.why().unwrap_or_default()
        )),
        Err(lack) => {
            let mend = match lack {
                Lack::Watched => "clustr run --delivery node, or --listen ADDR: outside of another clustr",
                Lack::Protected(_) => "sudo sysctl -w kernel.yama.ptrace_scope=1",
                Lack::Kernel(_) | Lack::Exchange(_) => UPDATE,
                Lack::Machine | Lack::Trial(_) => "clustr run --listen :3001 -- COMMAND",
                // It may get more reasons in another version of that crate.
                _ => "clustr run --listen :3001 -- COMMAND",
            };
            warn(format!("none: {lack}; node's channel and LISTEN_FDS work"), mend)
        }
    }
}

fn cgroup(found: &Cgroup) -> Verdict {
    match found {
        Cgroup::Absent => ok("no version 2 here: no limits by cgroup"),
        Cgroup::Foreign(path) => {
            ok(format!("{} is not ours: no limits by cgroup (Delegate=yes in a unit)", path.display()))
        }
        Cgroup::Delegated(path, controllers) if controllers.is_empty() => {
            ok(format!("{} is ours, without a controller", path.display()))
        }
        Cgroup::Delegated(path, controllers) => {
            ok(format!("{} is ours: {}", path.display(), controllers.join(" ")))
        }
    }
}

fn cpus(facts: &Facts) -> Verdict {
    let usable = facts.cpus.usable;
    let cpus = if usable == 1 { "CPU" } else { "CPUs" };
    match facts.cpus.online {
        Some(online) if online > usable => ok(format!(
            "{usable} {cpus} for us, of {online}: a quota or an affinity; --workers auto is {usable}"
        )),
        Some(_) | None => ok(format!("{usable} {cpus}; --workers auto is {usable}")),
    }
}

/// Below this, a few thousand clients are too many.
const FILES_MIN: u64 = 4096;

fn files(Limit { soft, hard }: Limit) -> Verdict {
    let word = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let text = format!("{}, which the primary raises to {}", word(soft), word(hard));
    match hard {
        Some(hard) if hard < 64 => fail(format!("{text}: too few to start anything"), FILES_MEND),
        Some(hard) if hard < FILES_MIN => warn(format!("{text}: few for many clients"), FILES_MEND),
        Some(_) | None if soft == hard => ok(word(hard)),
        Some(_) | None => ok(text),
    }
}

const FILES_MEND: &str = "LimitNOFILE=65536 in the unit, or as root: ulimit -Hn 65536";

/// Below this, a worker for each CPU and what it starts may not fit.
const PROCESSES_MIN: u64 = 256;

fn processes(facts: &Facts) -> Verdict {
    match facts.processes.soft {
        Some(limit) if limit < PROCESSES_MIN && !facts.is_root => {
            let text = format!("{limit} for all processes and threads of this user: few");
            warn(text, "TasksMax= and LimitNPROC= in the unit, or: ulimit -u 4096")
        }
        Some(limit) => ok(limit.to_string()),
        None => ok("unlimited"),
    }
}

/// As short a queue is soon full in a burst, and what comes then is dropped.
const QUEUE_MIN: u64 = 1024;

fn queue(key: &str, found: Option<u64>, what: &str) -> Verdict {
    match found {
        Some(length) if length < QUEUE_MIN => {
            let text = format!("{length} {what} at most: a burst beyond it waits for a second or more");
            warn(text, format!("sudo sysctl -w {key}=4096"))
        }
        Some(length) => ok(length.to_string()),
        None => ok("not to be seen here"),
    }
}

fn migrates(found: Option<u64>) -> Verdict {
    match found {
        Some(0) => ok("0: who waits in a queue that goes is kept by clustr"),
        Some(_) => ok("1: the kernel moves who waits in a queue that goes; clustr keeps them as well"),
        None => ok("this kernel has no such thing (5.14), and clustr needs none"),
    }
}

fn above(above: &Above) -> Verdict {
    let Above { systemd, unit, container } = above;
    let words = match (systemd, unit) {
        (true, true) => "a unit of systemd",
        (true, false) => "a person or a script; systemd runs here",
        (false, _) => "a person, a script, or whatever is process 1; no systemd",
    };
    ok(container.as_ref().map_or_else(|| words.to_owned(), |kind| format!("{words}; a container ({kind})")))
}

fn folder(folder: &Folder) -> Verdict {
    let quoted = |path: &Path| shell_line([path]);
    match folder {
        Folder::Ready(path) => ok(path.display().to_string()),
        Folder::Missing { path, can_be_made: true } => ok(format!("{} will be made", path.display())),
        Folder::Missing { path, can_be_made: false } => fail(
            format!("{} is not there, and cannot be made by this user", path.display()),
            "export CLUSTR_RUNTIME_DIR=\"$HOME/.clustr\"",
        ),
        Folder::ReadOnly(path) => {
            fail(format!("{} cannot be written to", path.display()), format!("chmod 700 {}", quoted(path)))
        }
        Folder::Refused(path, why) => {
            let path = quoted(path);
            fail(why.clone(), format!("sudo chown $(id -u) {path} && chmod 700 {path}"))
        }
    }
}

fn primaries(found: &[Primary]) -> Vec<Verdict> {
    if found.is_empty() {
        return vec![ok("none is running")];
    }
    let one = |Primary { name, live, pid }: &Primary| match pid {
        Some(pid) => ok(format!("{name} is running, pid {pid}")),
        None if *live => warn(format!("{name} does not answer"), format!("clustr status --name {name}")),
        None => ok(format!("{name} was killed: the next clustr run of that name cleans up")),
    };
    found.iter().map(one).collect()
}

fn file(facts: &Facts) -> Option<Verdict> {
    Some(match facts.file.as_ref()? {
        Ok(path) => ok(format!("{} can be read", path.display())),
        Err(broken) => fail(broken.why.clone(), format!("clustr check {}", shell_line([&broken.file]))),
    })
}

fn port(Port { addr, state }: &Port) -> Verdict {
    match state {
        State::Free => ok(format!("{addr} is free")),
        State::Given => ok(format!("{addr} comes with the process that runs clustr")),
        State::Ours(name) => ok(format!("{addr} belongs to the primary {name}, which is running")),
        State::Held(holder) => {
            let mend = match holder.pid {
                Some(pid) => format!("kill {pid}, or another address"),
                None => "sudo clustr doctor, which sees whose it is, or another address".to_owned(),
            };
            fail(format!("{addr} is taken by {}", held_by(holder)), mend)
        }
        State::Privileged(port) => fail(
            format!("{addr} is privileged, and this user may not bind it"),
            format!("sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}"),
        ),
        State::Unusable(why) => {
            fail(format!("{addr} cannot be had: {why}"), "ip address, for those that this machine has")
        }
    }
}

fn held_by(Holder { pid, name, uid }: &Holder) -> String {
    match (pid, name, uid) {
        (Some(pid), Some(name), _) => format!("{name}, pid {pid}"),
        (Some(pid), None, _) => format!("pid {pid}"),
        (None, _, Some(uid)) => format!("a process of user {uid} that cannot be looked at from here"),
        (None, _, None) => "a process that cannot be seen from here".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::facts::{Broken, Cpus};
    use super::*;

    macro_rules! golden {
        ($text:expr) => {
            insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($text) })
        };
    }

    fn healthy() -> Facts {
        Facts {
            kernel: "6.1.0-18-amd64".to_owned(),
            interception: Ok(Way::Adopt),
            pidfd: Ok(()),
            cgroup: Cgroup::Delegated("/sys/fs/cgroup/app".into(), vec!["cpu".into(), "memory".into()]),
            files: Limit { soft: Some(1024), hard: Some(524_288) },
            processes: Limit { soft: Some(63_000), hard: Some(63_000) },
            is_root: false,
            accept_queue: Some(4096),
            syn_backlog: Some(4096),
            migrates: Some(0),
            cpus: Cpus { usable: 2, online: Some(8) },
            above: Above { systemd: true, unit: false, container: None },
            folder: Folder::Ready("/run/user/1000/clustr".into()),
            primaries: vec![Primary { name: "app".into(), live: true, pid: Some(42) }],
            file: Some(Ok("clustr.toml".into())),
            ports: vec![
                of(":3001", State::Ours("app".into())),
                of(":3002", State::Free),
                of("fd:3", State::Given),
            ],
        }
    }

    fn ill() -> Facts {
        let holder = Holder { pid: Some(7), name: Some("nginx".into()), uid: Some(0) };
        let hidden = Holder { pid: None, name: None, uid: Some(33) };
        Facts {
            kernel: "5.4.0".to_owned(),
            interception: Err(Lack::Protected(1)),
            pidfd: Err("Function not implemented".to_owned()),
            cgroup: Cgroup::Foreign("/sys/fs/cgroup/user.slice".into()),
            files: Limit { soft: Some(256), hard: Some(1024) },
            processes: Limit { soft: Some(100), hard: None },
            is_root: false,
            accept_queue: Some(128),
            syn_backlog: Some(256),
            migrates: None,
            cpus: Cpus { usable: 1, online: None },
            above: Above { systemd: false, unit: false, container: Some("docker".into()) },
            folder: Folder::Refused("/run/a b".into(), "'/run/a b' belongs to another user".into()),
            primaries: vec![
                Primary { name: "hung".into(), live: true, pid: None },
                Primary { name: "old".into(), live: false, pid: None },
            ],
            file: Some(Err(Broken {
                file: PathBuf::from("clustr.toml"),
                why: "clustr.toml: 2 faults".into(),
            })),
            ports: vec![
                of(":80", State::Privileged(80)),
                of(":3001", State::Held(holder)),
                of(":3002", State::Held(hidden)),
                of(":3003", State::Held(Holder::default())),
                of("192.0.2.1:80", State::Unusable("Cannot assign requested address".into())),
            ],
        }
    }

    fn of(addr: &str, state: State) -> Port {
        Port { addr: addr.to_owned(), state }
    }

    fn told(facts: &Facts) -> String {
        super::super::text(&judge(facts))
    }

    fn level(check: &str, facts: &Facts) -> Level {
        judge(facts).into_iter().find(|found| found.check == check).unwrap().level
    }

    #[test]
    fn a_good_machine_has_nothing_to_mend() {
        golden!(told(&healthy()));
        assert!(judge(&healthy()).iter().all(|check| check.level == Level::Ok && check.mend.is_none()));
    }

    #[test]
    fn whatever_is_wrong_is_said_with_what_mends_it() {
        golden!(told(&ill()));
        assert!(judge(&ill()).iter().all(|check| (check.level == Level::Ok) == check.mend.is_none()));
    }

    #[test]
    fn each_lack_of_interception_is_a_warning_with_its_own_way_out() {
        let lacks = [
            Lack::Machine,
            Lack::Kernel(38),
            Lack::Watched,
            Lack::Protected(1),
            Lack::Exchange(22),
            Lack::Trial(24),
        ];
        golden!(lacks.map(|lack| told_of(interception(&Err(lack)))).join("\n"));
        assert_eq!(interception(&Ok(Way::Replace { errno: 1 })).0, Level::Ok);
    }

    fn told_of((level, detail, mend): Verdict) -> String {
        format!("{}: {detail}\n  {}", level.word(), mend.unwrap_or_default())
    }

    #[test]
    fn kernels_are_told_apart_by_what_clustr_needs() {
        for (release, expected) in [
            ("6.18.44-fc", Level::Ok),
            ("5.9", Level::Ok),
            ("5.8.18", Level::Warn),
            ("5.3.0", Level::Warn),
            ("5.2.21", Level::Fail),
            ("4.19.0-6-cloud", Level::Fail),
            ("", Level::Warn),
        ] {
            assert_eq!(kernel(release).0, expected, "{release}");
        }
    }

    #[test]
    fn limits_are_judged_at_their_edges() {
        let files_of = |hard| Facts { files: Limit { soft: Some(16), hard }, ..healthy() };
        assert_eq!(level("open files", &files_of(Some(63))), Level::Fail);
        assert_eq!(level("open files", &files_of(Some(4095))), Level::Warn);
        assert_eq!(level("open files", &files_of(Some(4096))), Level::Ok);
        assert_eq!(level("open files", &files_of(None)), Level::Ok);
        let few = Limit { soft: Some(255), hard: None };
        assert_eq!(level("processes", &Facts { processes: few, ..healthy() }), Level::Warn);
        assert_eq!(level("processes", &Facts { processes: few, is_root: true, ..healthy() }), Level::Ok);
        for (length, expected) in [(1023, Level::Warn), (1024, Level::Ok)] {
            assert_eq!(level("somaxconn", &Facts { accept_queue: Some(length), ..healthy() }), expected);
            assert_eq!(level("syn backlog", &Facts { syn_backlog: Some(length), ..healthy() }), expected);
        }
    }

    #[test]
    fn a_runtime_folder_is_good_or_fails() {
        let of = |folder| level("runtime folder", &Facts { folder, ..healthy() });
        let path = PathBuf::from("/run/clustr");
        assert_eq!(of(Folder::Missing { path: path.clone(), can_be_made: true }), Level::Ok);
        assert_eq!(of(Folder::Missing { path: path.clone(), can_be_made: false }), Level::Fail);
        assert_eq!(of(Folder::ReadOnly(path)), Level::Fail);
    }
}
