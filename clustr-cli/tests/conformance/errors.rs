//! What cannot be had is refused with the error that the app would see without a cluster.

use std::net::{Ipv6Addr, TcpListener};
use std::time::Instant;

use clustr_benches::http;

use crate::harness::ensure;
use crate::harness::node::{on_each_node, queued};
use crate::harness::{Run, SOON, of_kind, v4};

#[test]
fn a_port_that_somebody_has_is_in_use_until_it_is_free() {
    on_each_node("port in use, then free", |node| {
        let run = Run::app(node, "retry.js").workers(2);
        let foreign = taken(run.port())?;
        let mut primary = run.start()?;
        for slot in 0..2 {
            let line = format!("app.{slot} | cannot listen: EADDRINUSE bind {}", primary.port());
            let name = line.replace("app.", "retry.");
            primary.wait_said(&name)?;
        }
        drop(foreign);
        http::get_from_all(primary.address(), "/", 2, SOON)?;
        primary.stop()
    });
}

/// Takes a port that was free a moment ago. The socket that tried it then may live a little longer, in a process that
/// another test has forked and that is not its program yet.
fn taken(port: u16) -> Result<TcpListener, String> {
    let began = Instant::now();
    loop {
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if began.elapsed() > SOON => return Err(error.to_string()),
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn addresses_that_cannot_be_had_are_refused_by_name() {
    on_each_node("refused addresses", |node| {
        let mut primary = Run::app(node, "refused.js").workers(2).start()?;
        for answer in http::get_from_all(v4(primary.port() + 2), "/", 2, SOON)? {
            let errors = &answer["errors"];
            ensure!(errors["twice"]["code"] == "EADDRINUSE", "the same port twice: {answer}");
            ensure!(errors["unusable"]["code"] == "EADDRNOTAVAIL", "an address of nobody: {answer}");
            ensure!(errors["unusable"]["syscall"] == "bind", "the call that failed: {answer}");
            ensure!(errors["after"] == "listening", "after a refusal: {answer}");
        }
        primary.stop()
    });
}

#[test]
fn a_privileged_port_is_refused_to_an_ordinary_user() {
    let root = |_: &_| rustix::process::geteuid().is_root().then_some("needs an ordinary user");
    crate::harness::node::on_some_nodes("privileged port", root, |node| {
        let mut primary = Run::app(node, "refused.js").workers(2).start()?;
        for answer in http::get_from_all(v4(primary.port() + 2), "/", 2, SOON)? {
            ensure!(answer["errors"]["privileged"]["code"] == "EACCES", "{answer}");
        }
        primary.stop()
    });
}

#[test]
fn a_unix_socket_cannot_have_a_queue_for_each_worker_and_what_to_do_is_said() {
    queued("unix socket refused", |node| {
        let run = Run::app(node, "paths.js").workers(1).options(&["--backoff-min", "1h"]);
        let (folder, name) = (run.folder().to_path_buf(), format!("clustr-test-{}", run.port()));
        let primary = run.env("FOLDER", &folder.to_string_lossy()).env("ABSTRACT", &name).start()?;
        primary.wait_news("a refusal", SOON, |news| {
            let mut warnings = of_kind(news, "warning");
            warnings.find(|warning| {
                let detail = warning["detail"].as_str().unwrap_or_default();
                let path = folder.join("absolute.sock").display().to_string();
                detail.contains("cannot have a queue for each worker: refused (ENOTSUP)")
                    && detail.contains(&path)
                    && warning["hint"] == "clustr run --share shared -- COMMAND"
            })?;
            Some(())
        })?;
        primary.wait_said("ENOTSUP")
    });
}
