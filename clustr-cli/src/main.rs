//! `clustr`: run any network server as N worker processes that share its ports.
//!
//! Owns the way from arguments to an exit code, and nothing else. Words come in through `args`, go out through
//! `render`; what is done stands in `commands`; what a failure means, in text and number, in `failure`.

mod args;
mod client;
mod clock;
mod commands;
mod config_file;
mod demo;
mod dotenv;
mod exit_code;
mod failure;
mod launch_form;
mod names;
mod render;
mod target;

use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(leave_with_bug));
    let outcome = match args::parse() {
        Ok(cli) => {
            let wants_json = cli.wants_json();
            (commands::dispatch(cli), wants_json)
        }
        Err(failure) => (Err(failure), args::asks_for_json()),
    };
    ExitCode::from(match outcome {
        (Ok(code), _) => code,
        (Err(failure), wants_json) => fail(&failure, wants_json),
    })
}

/// Whoever wants JSON gets a failure as JSON too, beside the words for people.
fn fail(failure: &failure::Failure, wants_json: bool) -> u8 {
    if wants_json {
        // Where it cannot be written, the exit code says it.
        let _ = render::failure_json(failure);
    }
    render::failure(failure)
}

/// A panic is a bug: it is said in the one shape that errors have, and has an exit code of its own.
#[expect(clippy::exit, reason = "main leaves, and this is a part of main")]
fn leave_with_bug(panic: &std::panic::PanicHookInfo<'_>) {
    std::process::exit(i32::from(render::bug(&panic.to_string())));
}
