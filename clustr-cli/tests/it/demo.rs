//! The demo, as a newcomer starts it.

use std::process::Command;
use std::time::Duration;

use clustr_benches::started::Started;

use crate::harness::{CLUSTR, ensure, hold};

#[test]
fn the_demo_runs_kills_and_ends_well() {
    let outcome = (|| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut command = Command::new(CLUSTR);
        command.args(["demo", "--duration", "5s", "--kill"]).env("CLUSTR_RUNTIME_DIR", folder.path());
        let mut demo = Started::new(command.stdin(std::process::Stdio::null()))?;
        demo.expect_exit(0, Duration::from_secs(50))?;
        ensure!(demo.running().is_empty(), "still running: {:?}", demo.running());
        let left = std::fs::read_dir(folder.path()).map_err(|error| error.to_string())?.count();
        ensure!(left == 0, "{left} files left in the runtime folder");
        Ok(())
    })();
    hold(outcome);
}
