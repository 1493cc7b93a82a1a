//! What woke the loop for the primary itself: signals, the writer, clients.
//!
//! Owns the meaning of every [`Summons`], and of every signal. Never decides: what is wished becomes a wish for apps. Called by
//! the turn of the loop in `supervisor`.

use clustr_core::{Command, EndReason, Event, Plan, Target};
use nix::sys::signal::Signal;

use crate::app::App;
use crate::apps::NOBODY;
use crate::news::Fact;
use crate::reactor::Summons;
use crate::requests::SETTLE;
use crate::signals::{Signals, Word};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// What a wake-up of the primary means.
    pub(crate) fn heed(&mut self, summons: Summons) {
        match summons {
            Summons::Signals => self.hear_signals(),
            Summons::Writer => self.hear_writer(),
            Summons::Control => {
                self.make_room();
                if let Some(control) = &mut self.control {
                    control.accept(&mut self.reactor, self.now);
                }
            }
            Summons::Client(client) => self.hear_client(client),
            Summons::Desk => self.hear_desk(),
        }
    }

    /// What is kept for a client's descriptor is freed for it.
    pub(crate) fn make_room(&mut self) {
        self.here().for_each(|app| app.sharing.make_room());
    }

    fn hear_signals(&mut self) {
        while let Some(Ok(Some(word))) = self.signals.as_ref().map(Signals::next) {
            match word {
                Word::Stop | Word::HungUp => self.interrupt(),
                Word::StopAtOnce => self.stop_all(EndReason::AtOnce, NOBODY),
                Word::Reload => self.begin_round(NOBODY, Command::Reload(Plan::all(SETTLE))),
                Word::ScaleBy(by) => self.scale_by_signal(by),
                Word::Child => self.reap_strangers(),
                Word::NotYet(signal) => self.tell(not_yet(signal)),
            }
        }
    }

    /// A signal cannot say which app it means.
    fn scale_by_signal(&mut self, by: i32) {
        match &mut self.apps[..] {
            [only] => {
                let wish = Event::Asked(NOBODY, Command::Scale(Target::By(by)));
                only.app_mut().into_iter().for_each(|app| app.inbox.push_back(wish));
            }
            _ => {
                let detail = "a signal scales the only app, and here are several: nothing was done".into();
                self.tell(Fact::Warning { detail, hint: Some("clustr scale +1 --app NAME".into()) });
            }
        }
    }

    fn reap_strangers(&mut self) {
        let pids = self.pids();
        if let Some(strangers) = &self.strangers {
            strangers.reap(&pids);
        }
    }

    fn hear_writer(&mut self) {
        if let Some(lines) = self.logs.resume_news() {
            self.tell(Fact::OutputLost { lines });
        }
        self.here().for_each(App::resume_output);
        if self.logs.take_record_failed() {
            let detail = "who the workers are could not be written down beside the control socket: if this primary is \
                          killed, the next one of its name will not end them"
                .into();
            self.tell(Fact::Warning {
                detail,
                hint: Some("df, and clustr restart once there is room".into()),
            });
        }
    }
}

fn not_yet(signal: Signal) -> Fact {
    let purpose = if signal == Signal::SIGUSR1 { "reopening logs" } else { "upgrade" };
    Fact::Warning {
        detail: format!("{signal}: {purpose} is not in this version, nothing was done"),
        hint: None,
    }
}
