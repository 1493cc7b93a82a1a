//! The words around the help: what to type first, what to type next, and what is not there yet.
//!
//! Owns texts only. The golden help tests show them in place.

use std::fmt::Write as _;

use super::absent;
use crate::exit_code;

/// What it is, what to type first, then everything else.
pub(super) const TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

pub(super) const FIRST: &str = "\
Start here:
  clustr run -- node app.js       every CPU busy, one port, dead workers replaced
  clustr demo --kill              see it at work, with nothing else installed
";

pub(super) const AFTER: &str = "\
Examples:
  clustr run -n 4 -- node app.js  four workers; the program's own listen() is shared
  clustr status                   what runs (--json for scripts)
  clustr scale +2                 two workers more
  clustr stop                     finish what is open, then end

`clustr COMMAND --help` explains a command; `clustr --help` lists exit codes too.";

pub(super) const RUN: &str = "\
Examples:
  clustr run -- node app.js
  clustr run -n 4 --name shop --env PORT=3001 -- node server.js
  clustr run --restart transient --stop-timeout 30s -- node worker.js
  clustr run -d -- node app.js               in the background: returns when it is ready
  clustr run --listen :3001 -- ./server      a server that takes its listener from LISTEN_FDS
  clustr run                                 what clustr.toml says; options given beside it win
  clustr run -d -f /srv/shop/clustr.toml --profile production

In the background, output goes to NAME.log in $CLUSTR_STATE_DIR, else /var/log/clustr for root, else
$XDG_STATE_HOME/clustr or ~/.local/state/clustr; full at 8 MB, it becomes NAME.log.1, and a new one begins.

TIME is 500ms, 10s, 2m. Ctrl-C stops gracefully: what is open is finished, exit code 0.";

pub(super) const STATUS: &str = "\
Examples:
  clustr status
  clustr status --slot 0                 and its last lines
  clustr status --json | jq '.apps[0].workers[].pid'

cpu is a worker's share of one CPU since its start, as ps(1) counts it. A narrow terminal shows fewer columns.";

pub(super) const EVENTS: &str = "\
Examples:
  clustr events
  clustr events --json | jq 'select(.news == \"exited\")'";

pub(super) const SCALE: &str = "\
Examples:
  clustr scale 8
  clustr scale +2
  clustr scale -1";

pub(super) const RELOAD: &str = "\
Examples:
  clustr reload                          after the program's files were replaced
  clustr reload --canary 1 --settle 10s
  clustr reload --rolling 2              for those without memory for two generations
  clustr reload --env COLOUR=blue -- node app2.js
  clustr reload --dry-run                what would be different

Exit code 4: the new version failed, and the old one serves.";

pub(super) const RESTART: &str = "\
Examples:
  clustr restart
  clustr restart 3";

pub(super) const SIGNAL: &str = "\
Examples:
  clustr signal USR2
  clustr signal HUP 3

Each worker's signal goes to the process that listens. One that ends by it is restarted as after any exit.";

pub(super) const SEND: &str = "\
Examples:
  clustr send '{\"level\":\"debug\"}'
  clustr send --slot 0 'good day'

Exit code 75: a worker does not read its channel; 1: no worker has one.";

pub(super) const STOP: &str = "\
Examples:
  clustr stop
  clustr stop --name shop --timeout 1m

Whoever is there when the stop comes is answered first, if that takes no longer than --stop-timeout.
A program that cannot be asked to drain has four fifths of it, by TCP; then it gets the stop signal.";

pub(super) const CHECK: &str = "\
It takes the options of `run`, finds the command, counts the workers, and prints what it found, but
no secrets. Of a configuration file, everything that is wrong is said at once; exit code 78.

Examples:
  clustr check -n 4 --env-file .env -- node app.js
  clustr check                               clustr.toml
  clustr check --profile production --json
  clustr check --schema > clustr.schema.json";

pub(super) const APPLY: &str = "\
The number of workers is changed live; the command and the variables by a reload, which keeps the old
version where the new one fails (exit code 4). Everything else needs a new start: then nothing is
changed, and it is said what (exit code 1). A file that is wrong disturbs nobody (exit code 78).

Examples:
  clustr apply --dry-run
  clustr apply
  clustr apply /srv/shop/clustr.toml --profile production";

pub(super) const EXPORT: &str = "\
It takes the options of `run`, and reads the same files. What it prints waits longer for the primary's end than the
primary for that of its workers.

Examples:
  clustr export systemd > /etc/systemd/system/shop.service    what clustr.toml says
  clustr export kubernetes --listen :3001 --ready http:/health -- node app.js
  clustr export dockerfile > Dockerfile
  clustr export compose > compose.yaml";

pub(super) const DOCTOR: &str = "\
Each line is ok, warn or fail; below what is not ok stands what mends it. Nothing is changed.

Examples:
  clustr doctor
  clustr doctor :3001 unix:/run/app.sock     who listens there, if anybody does
  clustr doctor --json | jq '.checks[] | select(.level != \"ok\")'

Exit code 1: something fails.";

pub(super) const INIT: &str = "\
It looks for a Procfile, PM2's ecosystem.config.json, package.json, pyproject.toml and Cargo.toml, in this order.

Examples:
  clustr init
  clustr init deploy/clustr.toml";

pub(super) const DEMO: &str = "\
Examples:
  clustr demo                     watch; kill -9 a worker in another terminal
  clustr demo --kill              let the demo do it
  clustr demo --kill --duration 10s

Exit code 0: no request was refused or timed out.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  clustr completions bash > ~/.local/share/bash-completion/completions/clustr
  clustr completions zsh > ~/.zfunc/_clustr
  clustr completions fish > ~/.config/fish/completions/clustr.fish";

/// The end of `clustr --help`.
pub(super) fn after_long() -> String {
    let mut text = format!("{AFTER}\n\nExit codes:\n");
    for (code, meaning) in exit_code::MEANINGS {
        let _ = writeln!(text, "  {code:<4}{meaning}");
    }
    text.push_str("\nEnvironment:\n");
    text.push_str("  WEB_CONCURRENCY            the number of workers where -n is not given\n");
    text.push_str("  CLUSTR_RUNTIME_DIR         the folder of control sockets\n");
    text.push_str("  CLUSTR_STATE_DIR           the folder of output of what runs in the background\n");
    text.push_str(
        "  NODE_CLUSTER_SCHED_POLICY  as node means it: rr is --share handoff, none is --share shared\n",
    );
    text.push_str("  NO_COLOR                   no colours\n");
    let commands: Vec<&str> = absent::COMMANDS.iter().map(|(name, _)| *name).collect();
    let _ = write!(text, "\nNot in this version: {}.", commands.join(", "));
    text
}

/// The end of `clustr run --help`.
pub(super) fn run_long() -> String {
    format!("{RUN}\n\nNot in this version: --log journal|file:PATH.")
}
