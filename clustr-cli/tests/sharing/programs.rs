//! The programs of the matrix: how each is started, and by which delivery it gets its connections.
//!
//! Owns where they are: node in `PATH`, the examples of `clustr-net` beside this test, Python's servers where
//! `CLUSTR_PYTHON` says. Never starts one.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{app, node};

/// A program, in one delivery and one family of addresses.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) delivery: &'static str,
    /// What `run` is told beside the sharing.
    pub(crate) options: &'static [&'static str],
    pub(crate) place: Place,
    /// Whether it finishes what it has when it is sent SIGTERM; what it has is lost with it if not.
    pub(crate) finishes: bool,
    command: Result<Vec<String>, &'static str>,
}

/// Where it listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// On `PORT`, which it is told by the environment.
    OwnPort,
    /// On a port that clustr binds.
    Port,
    /// On a Unix socket that clustr binds.
    Path,
}

/// Every program of the matrix.
pub(crate) fn all() -> Vec<Program> {
    let node = node::nodes().first().map(|node| vec![node.program.clone(), app("handed.js")]).ok_or("node");
    vec![
        Program {
            name: "node",
            delivery: "node",
            options: &[],
            place: Place::OwnPort,
            finishes: true,
            command: node,
        },
        channel("Rust, std", "worker_threads", Place::Port),
        channel("Rust, std, Unix", "worker_threads", Place::Path),
        channel("Rust, mio", "worker_mio", Place::Port),
        channel("Rust, axum", "worker_tokio", Place::Port),
        // It listens to clustr's channel alone.
        Program { finishes: false, ..fds("Rust, std", Place::Port, example("worker_threads")) },
        fds("Python", Place::Port, python()),
        fds("Python, Unix", Place::Path, python()),
        fds("gunicorn", Place::Port, gunicorn()),
        fds("uvicorn", Place::Port, uvicorn()),
        binds("Python, own bind", python()),
        binds("gunicorn, own bind", gunicorn_that_binds()),
        binds("uvicorn, own bind", uvicorn_that_binds()),
    ]
}

impl Program {
    /// What is missing, if it cannot be started.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        self.command.as_ref().err().copied()
    }

    /// What is started.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.command.iter().flatten().map(String::as_str).collect()
    }

    /// Whether clustr says that it cannot be had.
    pub(crate) fn is_refused(&self, share: &str) -> bool {
        match share {
            "handoff" => self.delivery == "fds" || self.delivery == "intercept",
            "per-worker" => self.place == Place::Path,
            _ => false,
        }
    }
}

fn channel(name: &'static str, file: &str, place: Place) -> Program {
    Program {
        name,
        delivery: "channel",
        options: &["--delivery", "channel"],
        place,
        finishes: true,
        command: example(file),
    }
}

fn fds(name: &'static str, place: Place, command: Result<Vec<String>, &'static str>) -> Program {
    Program { name, delivery: "fds", options: &["--delivery", "fds"], place, finishes: true, command }
}

/// A program that binds by itself, and knows nothing.
fn binds(name: &'static str, command: Result<Vec<String>, &'static str>) -> Program {
    let options = &["--delivery", "intercept"];
    Program { name, delivery: "intercept", options, place: Place::OwnPort, finishes: true, command }
}

/// Where cargo has put an example; it is built with the packages of a whole test run.
fn example(name: &str) -> Result<Vec<String>, &'static str> {
    let own = std::env::current_exe().map_err(|_| "this program")?;
    let path = own.parent().map(|folder| folder.with_file_name("examples").join(name));
    let path = path
        .filter(|path| path.exists())
        .ok_or("the examples of clustr-net (cargo build --examples -p clustr-net)")?;
    Ok(vec![path.to_string_lossy().into_owned()])
}

fn python() -> Result<Vec<String>, &'static str> {
    let runs = Command::new("python3").arg("--version").output().is_ok_and(|said| said.status.success());
    if runs { Ok(vec!["python3".into(), app("inherited.py")]) } else { Err("python3") }
}

fn gunicorn() -> Result<Vec<String>, &'static str> {
    let words = ["--chdir", &folder(), "--log-level", "warning", "wsgi:app"].map(str::to_owned);
    Ok([vec![in_venv("gunicorn").ok_or("gunicorn")?], words.to_vec()].concat())
}

fn uvicorn() -> Result<Vec<String>, &'static str> {
    let words =
        ["--fd", "3", "--app-dir", &folder(), "--log-level", "warning", "asgi:app"].map(str::to_owned);
    Ok([vec![in_venv("uvicorn").ok_or("uvicorn")?], words.to_vec()].concat())
}

/// On `PORT`: a shell puts the number where these want it, and is gone.
fn gunicorn_that_binds() -> Result<Vec<String>, &'static str> {
    let program = in_venv("gunicorn").ok_or("gunicorn")?;
    let folder = folder();
    let line = format!("exec {program} --chdir {folder} --log-level warning --bind 127.0.0.1:$PORT wsgi:app");
    Ok(["sh", "-c", &line].map(str::to_owned).to_vec())
}

fn uvicorn_that_binds() -> Result<Vec<String>, &'static str> {
    let program = in_venv("uvicorn").ok_or("uvicorn")?;
    let folder = folder();
    let line = format!("exec {program} --port $PORT --app-dir {folder} --log-level warning asgi:app");
    Ok(["sh", "-c", &line].map(str::to_owned).to_vec())
}

fn folder() -> String {
    app("wsgi.py").trim_end_matches("/wsgi.py").to_owned()
}

fn in_venv(name: &str) -> Option<String> {
    let path = PathBuf::from(std::env::var_os("CLUSTR_PYTHON")?).join("bin").join(name);
    path.exists().then(|| path.to_string_lossy().into_owned())
}
