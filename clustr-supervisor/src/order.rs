//! In which order the apps of a primary start and stop.
//!
//! Owns who is after whom, and how far each app has come. An app starts once those that it is after run, or have finished
//! what they had to do; it stops once those that are after it have ended. Never starts or stops anything: the supervisor asks
//! who is next, and says what has become of whom.

use std::collections::BTreeSet;

use clustr_core::Verdict;

/// Why apps cannot be ordered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// There is none.
    #[error("there is no app to run")]
    NoApp,
    /// There are too many.
    #[error("a primary runs at most {APPS_MAX} apps, and these are {0}")]
    TooMany(usize),
    /// Two have the same name.
    #[error("two apps are named '{0}'")]
    SameName(String),
    /// One is after an app that is not there.
    #[error("app '{app}' is after '{after}', and there is no such app")]
    Unknown {
        /// The app.
        app: String,
        /// What it is after.
        after: String,
    },
    /// Each of them waits for the next one, and the last for the first.
    #[error("apps wait for each other: {}", circle(.0))]
    Circle(Vec<String>),
}

/// Bound: apps of one primary.
pub const APPS_MAX: usize = 64;

/// All apps, by number, and how far they have come.
#[derive(Debug)]
pub(crate) struct Order {
    places: Vec<Place>,
    is_stopping: bool,
}

#[derive(Debug)]
struct Place {
    /// The numbers of those that it is after.
    after: Vec<usize>,
    stage: Stage,
}

/// How far an app has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Waiting,
    Started,
    /// All of its slots were settled at least once.
    Running,
    /// It was told to stop.
    Told,
    Ended(Verdict),
}

impl Order {
    /// Of apps with these names, each after those.
    pub(crate) fn of<'a>(
        apps: impl Iterator<Item = (&'a str, &'a [String])> + Clone,
    ) -> Result<Self, OrderError> {
        let names: Vec<&str> = apps.clone().map(|(name, _)| name).collect();
        let mut seen = BTreeSet::new();
        match names.len() {
            0 => return Err(OrderError::NoApp),
            count if count > APPS_MAX => return Err(OrderError::TooMany(count)),
            _ => {}
        }
        if let Some(name) = names.iter().find(|name| !seen.insert(**name)) {
            return Err(OrderError::SameName((*name).to_owned()));
        }
        let number = |app: &str, after: &String| {
            let unknown = || OrderError::Unknown { app: app.to_owned(), after: after.clone() };
            names.iter().position(|name| name == after).ok_or_else(unknown)
        };
        let place = |(app, after): (&str, &[String])| {
            let after = after.iter().map(|after| number(app, after)).collect::<Result<_, _>>()?;
            Ok(Place { after, stage: Stage::Waiting })
        };
        let places = apps.map(place).collect::<Result<Vec<_>, _>>()?;
        match circle_in(&places) {
            Some(round) => {
                Err(OrderError::Circle(round.into_iter().map(|number| names[number].to_owned()).collect()))
            }
            None => Ok(Self { places, is_stopping: false }),
        }
    }

    /// The next app to start, which counts as started from now on.
    pub(crate) fn next_to_start(&mut self) -> Option<usize> {
        let is_met = |after: &usize| match self.places[*after].stage {
            Stage::Running | Stage::Told | Stage::Ended(Verdict::Finished) => true,
            Stage::Waiting | Stage::Started | Stage::Ended(Verdict::Stopped | Verdict::GaveUp) => false,
        };
        let next = self
            .places
            .iter()
            .position(|place| place.stage == Stage::Waiting && place.after.iter().all(is_met))?;
        if self.is_stopping {
            return None;
        }
        self.places[next].stage = Stage::Started;
        Some(next)
    }

    /// The next app that will never start, and the one because of which: from now on it has ended.
    pub(crate) fn next_in_vain(&mut self) -> Option<(usize, usize)> {
        let is_lost = |after: &&usize| {
            matches!(self.places[**after].stage, Stage::Ended(Verdict::Stopped | Verdict::GaveUp))
        };
        let lost = self.places.iter().enumerate().find_map(|(number, place)| {
            let cause = place.after.iter().find(is_lost).filter(|_| place.stage == Stage::Waiting);
            Some((number, *cause?))
        })?;
        self.places[lost.0].stage = Stage::Ended(Verdict::Stopped);
        Some(lost)
    }

    /// All of an app's slots are settled.
    pub(crate) fn running(&mut self, app: usize) {
        if self.places[app].stage == Stage::Started {
            self.places[app].stage = Stage::Running;
        }
    }

    /// An app has ended, or was told to before it had started.
    pub(crate) fn ended(&mut self, app: usize, verdict: Verdict) {
        self.places[app].stage = Stage::Ended(verdict);
    }

    /// From now on all are to stop, the last one first; what waits never starts.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        for place in self.places.iter_mut().filter(|place| place.stage == Stage::Waiting) {
            place.stage = Stage::Ended(Verdict::Stopped);
        }
    }

    /// The next app to be told to stop, which counts as told from now on.
    pub(crate) fn next_to_stop(&mut self) -> Option<usize> {
        let is_needed = |app: usize| {
            let is_after = |place: &Place| place.after.contains(&app);
            self.places.iter().any(|place| is_after(place) && !matches!(place.stage, Stage::Ended(_)))
        };
        let lives = |place: &Place| matches!(place.stage, Stage::Started | Stage::Running);
        let all = 0..self.places.len();
        let next = all.rev().find(|number| lives(&self.places[*number]) && !is_needed(*number));
        let next = next.filter(|_| self.is_stopping)?;
        self.places[next].stage = Stage::Told;
        Some(next)
    }

    /// Who is there, whether it was told to stop or not; from now on all of them were.
    pub(crate) fn tell_all(&mut self) -> Vec<usize> {
        self.stop();
        let (mut there, lives) =
            (Vec::new(), |stage| matches!(stage, Stage::Started | Stage::Running | Stage::Told));
        for (number, place) in self.places.iter_mut().enumerate().filter(|(_, place)| lives(place.stage)) {
            place.stage = Stage::Told;
            there.push(number);
        }
        there
    }

    /// How an app has ended, if it has.
    pub(crate) fn verdict_of(&self, app: usize) -> Option<Verdict> {
        match self.places[app].stage {
            Stage::Ended(verdict) => Some(verdict),
            Stage::Waiting | Stage::Started | Stage::Running | Stage::Told => None,
        }
    }

    /// Whether it has not started yet.
    pub(crate) fn is_waiting(&self, app: usize) -> bool {
        self.places[app].stage == Stage::Waiting
    }

    /// Whether it has started, and not ended.
    pub(crate) fn is_there(&self, app: usize) -> bool {
        matches!(self.places[app].stage, Stage::Started | Stage::Running | Stage::Told)
    }

    /// Whether every app runs, or has finished what it had to do.
    pub(crate) fn is_up(&self) -> bool {
        let is_up = |stage| matches!(stage, Stage::Running | Stage::Told | Stage::Ended(_));
        self.places.iter().all(|place| is_up(place.stage))
    }

    /// Whether all are to stop, or there is but one left that could.
    pub(crate) fn is_last(&self) -> bool {
        let left = self.places.iter().filter(|place| !matches!(place.stage, Stage::Ended(_)));
        self.is_stopping || left.count() <= 1
    }

    pub(crate) const fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// How the primary has ended, once all apps have: one that gave up decides, then one that was stopped.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let mut whole = Verdict::Finished;
        for place in &self.places {
            whole = match (place.stage, whole) {
                (Stage::Ended(Verdict::GaveUp), _) | (Stage::Ended(_), Verdict::GaveUp) => Verdict::GaveUp,
                (Stage::Ended(Verdict::Stopped), _) => Verdict::Stopped,
                (Stage::Ended(Verdict::Finished), whole) => whole,
                (Stage::Waiting | Stage::Started | Stage::Running | Stage::Told, _) => return None,
            };
        }
        Some(whole)
    }
}

/// Numbers of apps each of which is after the next one, and the last after the first.
fn circle_in(places: &[Place]) -> Option<Vec<usize>> {
    let mut sound = BTreeSet::new();
    // Whoever is after sound ones alone is sound; the rest leads into a circle.
    while let Some(next) = places.iter().enumerate().position(|(number, place)| {
        !sound.contains(&number) && place.after.iter().all(|after| sound.contains(after))
    }) {
        sound.insert(next);
    }
    let is_unsound = |number: &usize| !sound.contains(number);
    let mut path = vec![(0..places.len()).find(is_unsound)?];
    loop {
        let last = *path.last()?;
        let next = *places[last].after.iter().find(|after| is_unsound(after))?;
        if let Some(begin) = path.iter().position(|number| *number == next) {
            return Some(path.split_off(begin));
        }
        path.push(next);
    }
}

fn circle(names: &[String]) -> String {
    let first = names.first().map(String::as_str);
    names.iter().map(String::as_str).chain(first).collect::<Vec<_>>().join(" after ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `web:db,cache` is an app and those that it is after.
    fn try_order(words: &str) -> Result<Order, OrderError> {
        let apps: Vec<(String, Vec<String>)> = words
            .split_whitespace()
            .map(|word| {
                let (name, after) = word.split_once(':').unwrap_or((word, ""));
                let after = after.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
                (name.to_owned(), after)
            })
            .collect();
        Order::of(apps.iter().map(|(name, after)| (name.as_str(), after.as_slice())))
    }

    fn order(words: &str) -> Order {
        try_order(words).unwrap()
    }

    fn starts(order: &mut Order) -> Vec<usize> {
        std::iter::from_fn(|| order.next_to_start()).collect()
    }

    fn stops(order: &mut Order) -> Vec<usize> {
        std::iter::from_fn(|| order.next_to_stop()).collect()
    }

    #[test]
    fn an_app_starts_when_all_that_it_is_after_run() {
        let mut order = order("web:db,cache db cache");
        assert_eq!(starts(&mut order), [1, 2]);
        order.running(1);
        assert!(starts(&mut order).is_empty());
        assert!(order.is_waiting(0) && !order.is_up());
        order.running(2);
        assert_eq!(starts(&mut order), [0]);
        order.running(0);
        assert!(order.is_up());
    }

    #[test]
    fn what_has_finished_its_work_is_waited_for_no_more() {
        let mut order = order("migration web:migration");
        assert_eq!(starts(&mut order), [0]);
        order.ended(0, Verdict::Finished);
        assert_eq!((order.next_in_vain(), starts(&mut order)), (None, vec![1]));
        order.running(1);
        order.ended(1, Verdict::Finished);
        assert_eq!(order.verdict(), Some(Verdict::Finished));
    }

    #[test]
    fn an_app_that_gave_up_before_it_ran_takes_along_those_after_it_and_no_other() {
        let mut order = order("db web:db front:web other");
        assert_eq!(starts(&mut order), [0, 3]);
        order.running(3);
        order.ended(0, Verdict::GaveUp);
        assert!(starts(&mut order).is_empty());
        assert_eq!((order.next_in_vain(), order.next_in_vain()), (Some((1, 0)), Some((2, 1))));
        assert_eq!((order.next_in_vain(), order.verdict()), (None, None));
        assert!(order.is_there(3));
        order.ended(3, Verdict::Finished);
        assert_eq!(order.verdict(), Some(Verdict::GaveUp));
    }

    #[test]
    fn one_that_gave_up_later_leaves_those_after_it() {
        let mut order = order("db web:db");
        starts(&mut order);
        order.running(0);
        assert_eq!(starts(&mut order), [1]);
        order.ended(0, Verdict::GaveUp);
        assert_eq!(order.next_in_vain(), None);
        assert!(order.is_there(1));
    }

    #[test]
    fn apps_stop_in_reverse_and_those_that_wait_never_start() {
        let mut order = order("db web:db front:web late:front");
        for app in 0..3 {
            assert_eq!(starts(&mut order), [app]);
            order.running(app.min(1));
        }
        assert!(stops(&mut order).is_empty());
        order.stop();
        assert_eq!((stops(&mut order), order.is_waiting(3)), (vec![2], false));
        order.ended(2, Verdict::Stopped);
        assert_eq!(stops(&mut order), [1]);
        order.ended(1, Verdict::Stopped);
        assert_eq!((starts(&mut order), stops(&mut order)), (vec![], vec![0]));
        order.ended(0, Verdict::Stopped);
        assert_eq!(order.verdict(), Some(Verdict::Stopped));
    }

    #[test]
    fn those_who_do_not_wait_for_each_other_stop_together_the_last_first() {
        let mut order = order("a b c:a");
        starts(&mut order);
        order.running(0);
        starts(&mut order);
        order.stop();
        assert_eq!(stops(&mut order), [2, 1]);
        assert_eq!(order.tell_all(), [0, 1, 2], "at once is for everybody");
        assert!(stops(&mut order).is_empty());
    }

    #[test]
    fn what_cannot_be_ordered_is_named() {
        let why = |words: &str| try_order(words).unwrap_err().to_string();
        assert_eq!(why(""), "there is no app to run");
        assert_eq!(why("a b a"), "two apps are named 'a'");
        assert_eq!(why("a:b c"), "app 'a' is after 'b', and there is no such app");
        assert_eq!(why("a:a"), "apps wait for each other: a after a");
        assert_eq!(why("x:a a:b b:c c:a y"), "apps wait for each other: a after b after c after a");
        let many: Vec<String> = (0..=APPS_MAX).map(|number| format!("app{number}")).collect();
        assert_eq!(why(&many.join(" ")), "a primary runs at most 64 apps, and these are 65");
    }
}
