//! The primary: owns everything, and turns.
//!
//! Owns the loop, its apps ([`crate::app`]), and what they share: the control socket, signals, the writer, whoever
//! supervises us. Never decides over a worker's life, and never looks into an app: it wakes apps, and passes on what they say.
//!
//! ```text
//!                 ┌─ Wake ──── App: hear ─ rules ─ execute ─ Said ─┐
//! kernel ─ Poller ┤                                                ├─ control, desk, superior
//!                 └─ Summons ─ heed, answer ─ wishes for apps      ┘
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;

use clustr_core::{Time, Verdict};

use crate::app::{App, Said};
use crate::apps::Stopping;
use crate::clock;
use crate::cluster::{self, Desk};
use crate::control::protocol::AppStatus;
use crate::control::{Control, Outcome};
use crate::error::StartError;
use crate::left_behind;
use crate::logs::Logs;
use crate::news::{Fact, News};
use crate::notify::Superior;
use crate::order::Order;
use crate::process::{Record, Strangers};
use crate::reactor::{Party, Poller, Reactor, Summons, Wake};
use crate::rounds::Rounds;
use crate::signals::Signals;
use crate::sys;

/// A primary, ready to run.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) name: String,
    pub(crate) apps: Vec<Member>,
    pub(crate) order: Order,
    pub(crate) stopping: Stopping,
    pub(crate) rounds: Rounds,
    pub(crate) poller: Poller,
    pub(crate) reactor: Reactor<Summons>,
    /// For what the primary itself has to say.
    pub(crate) logs: Logs,
    /// Where both outputs go, in the background.
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) superior: Option<Superior>,
    /// Why it is not told, until that has been said.
    pub(crate) superior_fault: Option<String>,
    pub(crate) forgets_start: bool,
    /// Who would be left if this process were killed.
    pub(crate) record: Option<Record>,
    /// How many were left of the primary before, which was killed, and have been ended.
    pub(crate) orphans: usize,
    pub(crate) control: Option<Control>,
    pub(crate) desk: Option<Desk>,
    pub(crate) strangers: Option<Strangers>,
    pub(crate) signals: Option<Signals>,
    pub(crate) now: Time,
    pub(crate) started_at: Time,
}

/// One of the apps, or what is left to say of it.
#[derive(Debug)]
pub(crate) enum Member {
    Here(Box<App>),
    Ended(Box<AppStatus>),
}

/// Whom the loop was woken for.
#[derive(Debug, Default)]
struct Woken {
    /// In the order of the turn: the exits of all apps, then their channels, and so on.
    apps: Vec<(Wake, Party)>,
    primary: Vec<Summons>,
}

impl Supervisor {
    /// Runs all apps until they have ended.
    ///
    /// # Errors
    /// The kernel refuses to wait for events; every worker is killed then.
    pub fn run(mut self) -> Result<Verdict, StartError> {
        if self.forgets_start {
            sys::forget_code();
        }
        self.announce_control();
        self.announce_superior();
        self.announce_orphans();
        self.move_on();
        // Handles may have asked for something before there was anybody to ask.
        self.heed(Summons::Desk);
        self.here().for_each(App::pump);
        self.pass_on();
        self.move_on();
        let mut woken = Woken::default();
        loop {
            self.flush();
            if let Some(verdict) = self.order.verdict() {
                return Ok(verdict);
            }
            self.turn(&mut woken)?;
        }
    }

    /// One turn of the loop: sleep, look at what happened in order, do what is due.
    fn turn(&mut self, woken: &mut Woken) -> Result<(), StartError> {
        self.sleep(woken).map_err(StartError::system("wait for events"))?;
        let now = clock::now();
        self.now = now;
        self.here().for_each(|app| app.now = now);
        for (wake, party) in woken.apps.drain(..) {
            if let Some(app) = self.app_mut(number(party)) {
                app.hear(wake);
                app.pump();
                self.pass_on();
            }
        }
        for summons in woken.primary.drain(..) {
            self.heed(summons);
            self.here().for_each(App::pump);
            self.pass_on();
        }
        self.here().for_each(App::handle_timeout);
        if let Some(superior) = &mut self.superior {
            superior.handle_timeout(self.now);
        }
        if let Some(control) = &mut self.control {
            control.handle_timeout(&mut self.reactor, self.now);
        }
        self.here().for_each(App::see_to_clients);
        self.pass_on();
        self.move_on();
        Ok(())
    }

    fn sleep(&mut self, woken: &mut Woken) -> std::io::Result<()> {
        let is_restless = self.reactor.is_restless() || self.here().any(|app| app.reactor.is_restless());
        self.poller.wait(self.deadline(), is_restless)?;
        woken.primary.extend(self.reactor.take_again());
        for (party, member) in (1..).zip(&mut self.apps) {
            if let Member::Here(app) = member {
                woken.apps.extend(app.reactor.take_again().map(|wake| (wake, party)));
            }
        }
        for (party, source) in self.poller.events() {
            if party == PRIMARY {
                woken.primary.extend(self.reactor.wake(source));
            } else if let Some(Member::Here(app)) = self.apps.get(number(party)) {
                woken.apps.extend(app.reactor.wake(source).map(|wake| (wake, party)));
            }
        }
        woken.apps.sort_unstable();
        woken.apps.dedup();
        woken.primary.sort_unstable();
        woken.primary.dedup();
        Ok(())
    }

    /// When something is due, whoever waits for it.
    fn deadline(&self) -> Option<Time> {
        let control = self.control.as_ref().and_then(Control::deadline);
        let superior = self.superior.as_ref().and_then(Superior::deadline);
        let apps = self.members().filter_map(|(_, app)| app.deadline());
        apps.chain(control).chain(superior).min()
    }

    /// Passes on what apps have said, until nobody says anything more.
    pub(crate) fn pass_on(&mut self) {
        for number in 0..self.apps.len() {
            while let Some(said) = self.app_mut(number).and_then(App::take_said) {
                self.pass(number, said);
            }
        }
    }

    fn pass(&mut self, number: usize, said: Said) {
        match said {
            Said::News(news, event) => {
                let is_running = matches!(news.fact, Fact::Running { .. });
                if is_running {
                    self.order.running(number);
                }
                self.publish(&news, event.as_deref());
                if is_running && self.forgets_start {
                    // So is the code that started them: a primary at rest needs little of it.
                    sys::forget_code();
                }
            }
            Said::Answer(ticket, answer, setback) => {
                self.answered(number, ticket, Outcome { answer, setback, whose: None });
            }
            Said::Gone(worker) => {
                let pids = self.pids();
                if let (Some(strangers), Some(app)) = (&self.strangers, self.app(number)) {
                    strangers.kill_left_by(&app.name, worker, &pids);
                }
            }
            Said::Ended(verdict) => self.order.ended(number, verdict),
        }
    }

    /// The processes that are no strangers: workers of all apps, and questions to them.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.members().flat_map(|(_, app)| app.processes()).map(|(process, ..)| process.id()).collect()
    }

    /// Tells everybody who watches what the primary itself has to say.
    pub(crate) fn tell(&mut self, fact: Fact) {
        let event = self.desk.is_some().then(|| cluster::Event::of(&fact, |_| 0));
        let news = News { at_unix_ms: clock::unix_ms(), app: self.name.clone(), fact };
        self.logs.news(&news);
        self.publish(&news, event.as_ref());
    }

    fn publish(&mut self, news: &News, event: Option<&cluster::Event>) {
        if let (Some(desk), Some(event)) = (&mut self.desk, event)
            && desk.is_watched()
        {
            desk.publish(event);
        }
        if let Some(superior) = &self.superior {
            superior.tell(&news.fact, &self.order, self.now);
        }
        if let Some(control) = &mut self.control {
            control.publish(news);
        }
    }

    fn announce_control(&mut self) {
        if let Some(control) = &self.control {
            let path = control.path().display().to_string();
            self.tell(Fact::Control { path });
        }
    }

    fn announce_orphans(&mut self) {
        if let Some(fact) = left_behind::fact(self.orphans) {
            self.tell(fact);
        }
    }

    /// Has it written down who is there, once for all that have come or gone in this turn.
    fn write_record(&mut self) {
        let has_changed =
            self.here().fold(false, |changed, app| changed | std::mem::take(&mut app.has_changed));
        let Some(record) = &mut self.record else { return };
        if has_changed {
            record.touch();
        }
        let apps = self.apps.iter().filter_map(Member::app);
        if let Some((path, text)) = record.take(apps.flat_map(App::processes))
            && !self.logs.record(path, text)
        {
            // A disk that is stuck: again in the next turn.
            record.touch();
        }
    }

    fn flush(&mut self) {
        self.write_record();
        let is_alone_again = self.control.as_mut().is_some_and(|control| control.flush(&mut self.reactor));
        if is_alone_again && self.forgets_start {
            // What clients ask for is asked rarely, and is as much code as the start.
            sys::forget_code();
        }
    }

    /// The apps that have not ended.
    pub(crate) fn here(&mut self) -> impl Iterator<Item = &mut App> {
        self.apps.iter_mut().filter_map(Member::app_mut)
    }

    /// The same, with their numbers.
    pub(crate) fn members(&self) -> impl Iterator<Item = (usize, &App)> {
        self.apps.iter().enumerate().filter_map(|(number, member)| Some((number, member.app()?)))
    }

    pub(crate) fn app(&self, number: usize) -> Option<&App> {
        self.apps.get(number).and_then(Member::app)
    }

    pub(crate) fn app_mut(&mut self, number: usize) -> Option<&mut App> {
        self.apps.get_mut(number).and_then(Member::app_mut)
    }
}

impl Member {
    pub(crate) fn app_mut(&mut self) -> Option<&mut App> {
        match self {
            Self::Here(app) => Some(app),
            Self::Ended(_) => None,
        }
    }

    pub(crate) fn app(&self) -> Option<&App> {
        match self {
            Self::Here(app) => Some(app),
            Self::Ended(_) => None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Here(app) => &app.name,
            Self::Ended(picture) => &picture.name,
        }
    }
}

impl Drop for Supervisor {
    /// Leaves nothing behind, after an error and a panic as well: no process, no socket file, no unwritten line (but for
    /// a reader that has stopped).
    fn drop(&mut self) {
        self.here().for_each(App::abandon);
        self.pass_on();
        if let Some(strangers) = &self.strangers {
            strangers.end_all();
        }
        // Whoever has waited for the end finds everything written.
        self.apps.clear();
        self.logs.close();
        self.record.iter().for_each(Record::remove);
        if let Some(control) = self.control.take() {
            control.close(&mut self.reactor);
        }
    }
}

/// The primary's own party; those of the apps count from 1, in their order.
pub(crate) const PRIMARY: Party = 0;

/// The number of the app that is this party.
fn number(party: Party) -> usize {
    usize::from(party).wrapping_sub(1)
}
