//! What can be done here, and the words where it cannot.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clustr_net::intercept::{Installer, Lack, Watch, Way, found, probe};

use super::stage::{REPLACE, works};
use super::sys;
use crate::support::{alone, open_descriptors};

#[test]
fn the_trial_takes_no_time_and_leaves_nothing() {
    if works().is_none() || !alone("intercept::probe::the_trial_takes_no_time_and_leaves_nothing") {
        return;
    }
    let way = probe().unwrap();
    let before = open_descriptors();
    let mut took: Vec<_> = (0..20)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(probe(), Ok(way));
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    eprintln!("a trial takes {:?}", took[took.len() / 2]);
    assert_eq!(open_descriptors(), before);
    assert_eq!(std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default(), "");
    assert_eq!(found(), Ok(way));
}

/// Runs the trial in a process of its own that was prepared so, and returns what it says.
fn said(test: &str, prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> Option<String> {
    const MARK: &str = "CLUSTR_TEST_TRIAL";
    if std::env::var_os(MARK).is_some_and(|name| name == test) {
        eprintln!("trial: {:?}", probe());
        return None;
    }
    works()?;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1", "--nocapture"]).env(MARK, test).stdin(Stdio::null());
    sys::before_exec(&mut command, prepare);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("trial: "));
    Some(line.unwrap_or_else(|| panic!("{text}")).1.to_owned())
}

#[test]
fn where_descriptors_cannot_be_taken_they_are_replaced() {
    // As Docker's profile does it.
    let said = said(
        "intercept::probe::where_descriptors_cannot_be_taken_they_are_replaced",
        sys::refuse_like_docker,
    );
    if let Some(said) = said {
        assert_eq!(said, format!("{:?}", Ok::<_, Lack>(REPLACE)));
        assert!(REPLACE.why().unwrap().contains("Operation not permitted"), "{:?}", REPLACE.why());
    }
}

#[test]
fn a_process_that_is_watched_already_is_told_so() {
    let installer = Arc::new(Installer::new(Watch::default()).unwrap());
    let install = move || {
        let installed = installer.install();
        installed.map_err(|error| std::io::Error::from_raw_os_error(error.errno()))
    };
    if let Some(said) = said("intercept::probe::a_process_that_is_watched_already_is_told_so", install) {
        assert_eq!(said, format!("{:?}", Err::<Way, _>(Lack::Watched)));
    }
}

#[test]
fn where_the_kernel_has_no_notification_that_is_said() {
    let said =
        said("intercept::probe::where_the_kernel_has_no_notification_that_is_said", sys::refuse_notification);
    if let Some(said) = said {
        assert_eq!(said, format!("{:?}", Err::<Way, _>(Lack::Kernel(38))));
    }
}
