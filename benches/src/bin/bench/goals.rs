//! What is promised of clustr's speed, in one place.
//!
//! Owns the goals and the judging. Never measures: a part reports what it found under a goal's name.

use clustr_benches::series::Series;

/// On which side of its number a goal lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One promise.
pub(crate) struct Goal {
    /// What parts call it.
    pub(crate) name: &'static str,
    /// What is measured.
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    pub(crate) unit: &'static str,
    /// Whether a miss is a fault, and not only a pity.
    pub(crate) must: bool,
    /// What stands in the way of more, measured beside it.
    pub(crate) limit: &'static str,
}

/// What became of a goal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Held,
    /// By so much: a share of the goal, or a number if the goal is none at all.
    Missed(String),
}

const fn at_least(
    name: &'static str,
    what: &'static str,
    least: f64,
    must: bool,
    limit: &'static str,
) -> Goal {
    Goal { name, what, bound: Bound::AtLeast(least), unit: "×", must, limit }
}

const fn at_most(
    name: &'static str,
    what: &'static str,
    (most, unit): (f64, &'static str),
    must: bool,
    limit: &'static str,
) -> Goal {
    Goal { name, what, bound: Bound::AtMost(most), unit, must, limit }
}

const NODE: &str = "node's own work for a connection: accept, parse, answer, close";
const AFTER: &str = "a filter's look at every system call";
const PASSING: &str = "accept4 and sendmsg in the primary, recvmsg and two answers in node";
const EXEC: &str = "fork, exec, the dynamic loader";
const MANY: &str =
    "pipes, a pidfd and a watched bind for each, and in each child the copies of all that the primary holds";

/// All of them, in the order of the report.
pub(crate) const GOALS: &[Goal] = &[
    at_least("short-shared-none", "short connections/s, `shared` × node's SCHED_NONE", 0.97, true, NODE),
    at_least("short-shared-bare", "short connections/s, `shared` × the bare loop", 0.97, true, NODE),
    at_least("short-shared-pm2", "short connections/s, `shared` × PM2", 2.3, true, NODE),
    at_least("short-queues-none", "short connections/s, `per-worker` × node's SCHED_NONE", 0.97, true, NODE),
    at_least("short-queues-bare", "short connections/s, `per-worker` × the bare loop", 0.97, true, NODE),
    at_least("short-queues-pm2", "short connections/s, `per-worker` × PM2", 2.3, true, NODE),
    at_least(
        "short-handoff-bare",
        "short connections/s, `handoff` to node × the bare loop",
        0.95,
        true,
        PASSING,
    ),
    at_least(
        "short-handoff-rr",
        "short connections/s, `handoff` to node × node's round robin",
        1.3,
        true,
        PASSING,
    ),
    at_least(
        "short-native-bare",
        "short connections/s, `handoff` to Rust × the bare passing loop",
        0.95,
        false,
        PASSING,
    ),
    at_least("kept-shared-node", "keep-alive requests/s, `shared` × node:cluster", 0.97, true, NODE),
    at_least(
        "kept-shared-bare",
        "keep-alive requests/s, `shared` × workers without a primary",
        0.97,
        true,
        NODE,
    ),
    at_least("kept-queues-node", "keep-alive requests/s, `per-worker` × node:cluster", 0.97, true, NODE),
    at_least(
        "kept-queues-bare",
        "keep-alive requests/s, `per-worker` × workers without a primary",
        0.97,
        true,
        NODE,
    ),
    at_least("kept-handoff-node", "keep-alive requests/s, `handoff` × node:cluster", 0.97, true, NODE),
    at_least(
        "kept-handoff-bare",
        "keep-alive requests/s, `handoff` × workers without a primary",
        0.97,
        true,
        NODE,
    ),
    at_least("short-intercept-node", "short connections/s, node intercepted × alone", 0.95, true, NODE),
    at_least("short-intercept-rust", "short connections/s, Rust intercepted × alone", 0.95, true, AFTER),
    at_least("kept-intercept-node", "keep-alive requests/s, node intercepted × alone", 0.95, true, NODE),
    at_least("kept-intercept-rust", "keep-alive requests/s, Rust intercepted × alone", 0.95, true, AFTER),
    at_most(
        "filter",
        "a worker's filter, until its exec",
        (1.0, "ms"),
        true,
        "the kernel's check and compilation",
    ),
    at_most("p99-shared-none", "p99 of short connections, `shared` × SCHED_NONE", (1.05, "×"), false, NODE),
    at_most(
        "cpu-handoff-bare",
        "primary's CPU per handoff to node × the bare loop",
        (1.25, "×"),
        true,
        PASSING,
    ),
    at_most(
        "cpu-shared",
        "primary's CPU per 10,000 connections, `shared`",
        (10.0, "ms"),
        true,
        "nothing is to be done",
    ),
    at_most(
        "cpu-queues",
        "primary's CPU per 10,000 connections, `per-worker`",
        (10.0, "ms"),
        true,
        "looking at the queues",
    ),
    at_most("pss-2", "primary's PSS, 2 workers", (2.5, "MB"), true, "code and heap of a primary"),
    at_most("pss-100", "primary's PSS, 100 workers", (3.5, "MB"), true, "kilobytes a worker"),
    at_most(
        "pss-growth",
        "more PSS after 100,000 connections (quick: 10,000)",
        (0.2, "MB"),
        true,
        "pages touched once",
    ),
    at_most("wake-ups", "wake-ups of an idle primary in 10 s", (0.0, ""), true, "nothing is to be done"),
    at_most(
        "restart-bare",
        "exit → successor's first line × bare fork and exec on a pidfd",
        (2.0, "×"),
        false,
        EXEC,
    ),
    at_most(
        "restart-serving",
        "exit → served by the successor (trivial Rust worker)",
        (10.0, "ms"),
        false,
        EXEC,
    ),
    at_most(
        "storm-lost",
        "kill storm: requests lost beyond what killed workers had accepted",
        (0.0, ""),
        true,
        "what a worker accepted ends with it",
    ),
    at_most(
        "reload-lost",
        "10 reloads under load (quick: fewer): requests lost",
        (0.0, ""),
        true,
        "nothing: waiting clients wait on",
    ),
    at_most(
        "health-waiting",
        "clients that wait over 100 ms for a worker that stands still",
        (5.0, "%"),
        true,
        "those who are in its queue already",
    ),
    Goal {
        name: "health-control",
        what: "the same with health off, or nothing was measured",
        bound: Bound::AtLeast(5.0),
        unit: "%",
        must: true,
        limit: "the half of all that the kernel gives to this worker",
    },
    at_most("startup-100-bare", "start of 100 trivial workers × a bare spawn loop", (1.5, "×"), false, MANY),
    at_most("startup-500-bare", "start of 500 trivial workers × a bare spawn loop", (1.5, "×"), false, MANY),
    at_most(
        "status-100",
        "`clustr status` with 100 workers",
        (5.0, "ms"),
        false,
        "the start of a command, a look at 100 processes",
    ),
    at_most(
        "cold-bare",
        "2 node workers serving from cold × the bare loop",
        (1.1, "×"),
        false,
        "node's own start",
    ),
    at_most(
        "cold-node",
        "2 node workers serving from cold × node:cluster",
        (0.7, "×"),
        false,
        "node's own start",
    ),
    at_most("core-event", "the core: one event at 1,000 workers", (1.0, "µs"), false, "a walk down one tree"),
    at_most("core-growth", "the core: one event at 1,000 workers × at 10", (5.0, "×"), false, "caches"),
];

impl Goal {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        GOALS.iter().find(|goal| goal.name == name)
    }

    /// By the median.
    pub(crate) fn judge(&self, found: &Series) -> Verdict {
        let median = found.median();
        let (limit, missed_by) = match self.bound {
            Bound::AtLeast(least) => (least, least - median),
            Bound::AtMost(most) => (most, median - most),
        };
        match missed_by {
            by if by <= 0.0 => Verdict::Held,
            by if limit > 0.0 => Verdict::Missed(format!("{:.1} %", 100.0 * by / limit)),
            by => Verdict::Missed(format!("{by:.0}")),
        }
    }

    /// `≥ 0.97 ×`.
    pub(crate) fn shown(&self) -> String {
        let (sign, limit) = match self.bound {
            Bound::AtLeast(least) => ("≥", least),
            Bound::AtMost(most) => ("≤", most),
        };
        format!("{sign} {limit} {}", self.unit).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, found: f64) -> Verdict {
        Goal::named(name).unwrap().judge(&Series::of(found))
    }

    #[test]
    fn every_goal_has_a_name_of_its_own() {
        for goal in GOALS {
            assert_eq!(GOALS.iter().filter(|other| other.name == goal.name).count(), 1, "{}", goal.name);
        }
    }

    #[test]
    fn a_goal_is_held_up_to_its_limit_and_missed_by_what_lies_beyond() {
        assert_eq!(verdict("short-shared-none", 0.97), Verdict::Held);
        assert_eq!(verdict("restart-bare", 2.0), Verdict::Held);
        assert_eq!(verdict("restart-bare", 3.0), Verdict::Missed("50.0 %".to_owned()));
        assert_eq!(verdict("short-shared-none", 0.873), Verdict::Missed("10.0 %".to_owned()));
        assert_eq!(verdict("storm-lost", 2.0), Verdict::Missed("2".to_owned()));
        assert_eq!(Goal::named("wake-ups").unwrap().shown(), "≤ 0");
    }
}
