//! The rules of a worker cluster, as one state machine that cannot do I/O.
//!
//! # What it does
//!
//! [`App`] decides over the lives of N identical workers: who is started, who may serve, who has a successor
//! and how long its slot rests before, who is asked to stop and in which words, when to give up, and how a new
//! generation takes the place of an old one, or does not. Facts go in
//! ([`Event`], past tense), orders come out ([`Action`], imperative, in the order in which they have to be
//! carried out), and news for whoever watches are among them ([`Notice`]). The vocabulary is that of
//! [Erlang/OTP's supervisor](https://www.erlang.org/doc/apps/stdlib/supervisor.html): restart modes and
//! restart intensity, together with readiness, backoff, graceful stop and scaling.
//!
//! # What it never does
//!
//! - It never starts, signals or waits for a process, and knows no pid: identity is slot and incarnation.
//! - It never reads a clock. Time is a number that it is given ([`Time`]), and [`App::deadline`] says when it
//!   wants to be called again; if nothing is due, it wants nothing.
//! - It never asks for entropy: the same seed and the same facts give the same orders.
//! - It never fails and never panics because of a fact: one that comes late, twice or out of place is
//!   ignored and counted.
//! - It never looks at all slots because something happened to one: a fact costs the same with ten workers
//!   and with a thousand.
//!
//! The crate is `no_std` with `alloc`, has no dependencies and no `unsafe`, so most of this list is kept by
//! the compiler.
//!
//! # A crash loop without a process
//!
//! ```
//! use std::time::Duration;
//! use clustr_core::{Action, App, Event, Exit, Intensity, Notice, Policy, Time, Verdict, WorkerId};
//!
//! let intensity = Intensity { restarts: 3, period: Duration::from_secs(10) };
//! let policy = Policy::builder(1).intensity(intensity).build()?;
//! let mut app = App::new(policy, 42);
//! let mut now = Time::from_nanos(0);
//! let mut todo: Vec<Action> = app.start(now).into_iter().collect();
//! let (mut starts, mut rests) = (0, Vec::new());
//!
//! // The shell: carries out orders and reports what came of them. This one's program crashes at once.
//! let verdict = loop {
//!     if todo.is_empty() {
//!         let deadline = app.deadline().expect("a slot rests");
//!         now = deadline.at; // A real shell sleeps until then.
//!         todo.extend(app.handle_timeout(now));
//!         continue;
//!     }
//!     match todo.remove(0) {
//!         Action::Spawn(worker, _) => {
//!             starts += 1;
//!             todo.extend(app.handle(Event::Spawned(worker), now));
//!             todo.extend(app.handle(Event::Exited(worker, Exit::Code(1)), now));
//!         }
//!         Action::Notify(Notice::Resting { rest, .. }) => rests.push(rest),
//!         Action::Leave(verdict) => break verdict,
//!         _ => {} // Nobody was ever ready: there is nothing to admit, drain or kill.
//!     }
//! };
//!
//! assert_eq!(starts, 4); // The first, and three restarts; one more would have been too many.
//! assert!(rests.is_sorted()); // Each rest is longer than the one before.
//! assert_eq!(verdict, Verdict::GaveUp);
//! # Ok::<(), clustr_core::PolicyError>(())
//! ```
//!
//! # The map
//!
//! | module | owns |
//! |---|---|
//! | `id` `time` | names of slots and workers; moments as numbers |
//! | `event` `command` | what may be told: facts and wishes |
//! | `action` `notice` `view` | what is answered: orders, news, pictures |
//! | `policy` | the rules; an invalid policy cannot be made |
//! | `app` | the root machine: running, scaling, ending |
//! | `plan` `reload` `versions` | batches; a new generation tried, confirmed or rolled back; generations by number |
//! | `health` | who is replaced for failing, or for having served long enough |
//! | `scale` `shutdown` | who waits for a new size; who waits for the end, and how strong the word was |
//! | `roster` | all slots, counted and timed |
//! | `slot` | one place and the succession of workers in it |
//! | `worker` `ladder` | one life; its stop, from the first word to the last signal |
//! | `intensity` `backoff` `seed` | the sliding window of restarts; rests; jitter |
//!
//! The state machines print themselves: `tests/golden` has every state × everything that can happen to it,
//! compared with the code by each test run.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod action;
mod app;
mod backoff;
mod command;
mod event;
#[cfg(test)]
mod golden;
mod health;
mod id;
mod intensity;
mod ladder;
mod notice;
mod plan;
mod policy;
mod reload;
mod roster;
mod scale;
mod seed;
mod shutdown;
mod slot;
mod time;
mod turn;
mod versions;
mod view;
mod worker;

pub use action::{Action, Actions, Answer, Verdict};
pub use app::App;
pub use command::{Command, EndReason, Refusal, Target};
pub use event::{Ailment, Event, Exit, SpawnFault, Wear, Why};
pub use id::{Generation, SlotId, Ticket, WorkerId};
pub use notice::{Notice, Setback};
pub use plan::{Old, Plan};
pub use policy::{
    Backoff, ExitCodes, Intensity, Overdue, Policy, PolicyBuilder, PolicyError, RestartMode, SLOTS_MAX,
    StopOrder,
};
pub use slot::SLOT_WORKERS_MAX;
pub use time::Time;
pub use view::{AppState, AppView, Deadline, Due, ReloadView, SlotState, SlotView, WorkerView};
