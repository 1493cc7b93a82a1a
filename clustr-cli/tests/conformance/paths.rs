//! Unix sockets.

use std::collections::BTreeSet;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use clustr_benches::{http, wait};
use serde_json::Value;

use crate::harness::ensure;
use crate::harness::node::{Node, on_some_nodes};
use crate::harness::{Outcome, Run, SOON};

#[test]
fn unix_sockets_are_shared_and_gone_at_the_end() {
    on_some_nodes("unix sockets", no_queues, |node| {
        let run = Run::app(node, "paths.js").workers(2);
        let folder = run.folder().to_path_buf();
        let name = format!("clustr-test-{}-{}", std::process::id(), run.port());
        let run = run.env("FOLDER", &folder.to_string_lossy()).env("ABSTRACT", &name);
        let mut primary = run.start()?;
        primary.wait_count("listening", 8)?;
        for file in ["absolute", "relative", "open"] {
            let path = folder.join(format!("{file}.sock"));
            both_answer(&SocketAddr::from_pathname(&path).map_err(|error| error.to_string())?, file)?;
        }
        both_answer(&SocketAddr::from_abstract_name(&name).map_err(|error| error.to_string())?, "abstract")?;
        let mode = mode_of(&folder.join("open.sock"))?;
        ensure!(mode & 0o666 == 0o666, "readable and writable for all, but mode {mode:o}");
        let closed = mode_of(&folder.join("absolute.sock"))?;
        ensure!(closed & 0o022 == 0, "writable by others unasked: mode {closed:o}");
        primary.stop()?;
        let left: Vec<_> =
            ["absolute", "relative", "open"].map(|file| folder.join(format!("{file}.sock"))).into();
        ensure!(left.iter().all(|path| !path.exists()), "files left: {left:?}");
        Ok(())
    });
}

/// Only ports have queues; that a Unix socket is refused there has a test of its own.
pub(crate) fn no_queues(node: &Node) -> Option<&'static str> {
    (node.share == "per-worker").then_some("only ports have queues")
}

fn both_answer(address: &SocketAddr, which: &str) -> Outcome {
    let mut seen = BTreeSet::new();
    wait::until_true(&format!("both workers on {which}"), SOON, || {
        let answers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| http::get_unix(address, "/"))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()?.ok()).collect::<Vec<_>>()
        });
        let values = answers.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
        seen.extend(
            values.filter(|answer| answer["which"] == which).filter_map(|answer| answer["pid"].as_u64()),
        );
        seen.len() == 2
    })
}

fn mode_of(path: &Path) -> Result<u32, String> {
    let found = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(found.permissions().mode())
}
