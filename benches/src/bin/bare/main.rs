//! `bare PART ...`: the least that a server and a primary can be. What the machine leaves room for.
//!
//! Owns loops that check nothing, recover from nothing and are no product: they are measured beside clustr. Each runs in a
//! process of its own, and ends by a signal.
#![expect(clippy::disallowed_methods, reason = "a bare primary starts workers")]
#![expect(clippy::print_stderr, reason = "a program that says why it cannot run")]

mod alone;
mod node;
mod pass;
mod serve;
mod spawn;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bare: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    match words {
        ["serve", port] => serve::serve(number(port)?),
        ["serve-kept", port] => serve::serve_kept(number(port)?),
        ["worker"] => serve::worker(),
        ["passed"] => pass::worker(),
        ["pass", port, workers] => pass::primary(number(port)?, number(workers)?),
        ["node-share", port, workers, app] => node::share(number(port)?, number(workers)?, app),
        ["node-pass", port, workers, app] => node::pass(number(port)?, number(workers)?, app),
        ["alone", port, workers, command @ ..] => alone::all(number(port)?, number(workers)?, command),
        ["plain"] => alone::plain(),
        ["plain-on-input"] => alone::on_input(),
        ["filter"] => alone::filter(),
        ["spawn", count, program, argument] => spawn::all(number(count)?, program, argument),
        ["restart", program, argument] => spawn::again_and_again(program, argument),
        _ => Err(format!("{words:?} is no part: see src/bin/bare/main.rs")),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("'{word}' is no number"))
}

/// Any error as text.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
