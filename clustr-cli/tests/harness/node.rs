//! Which nodes there are, and one case on each of them.
//!
//! Owns the line that a case prints for each version and sharing: `conformance: CASE node VERSION ok`, or `FAILED WHY`,
//! with `[handoff]` or `[per-worker]` before that where connections are shared so; or `skipped WHY` where the case does
//! not apply to that version, that sharing or that user.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{OnceLock, PoisonError, RwLock};

use super::Outcome;

/// Held for reading by every case, and for writing by those that want to be alone.
static QUIET: RwLock<()> = RwLock::new(());

/// A node that runs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) program: String,
    pub(crate) version: String,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// How its workers get connections.
    pub(crate) share: &'static str,
}

/// The ways of sharing: every case holds for each.
const SHARES: [&str; 3] = ["shared", "handoff", "per-worker"];

/// The way that is tried with the first node alone: what is node's own about it is the same as in `shared`.
const FIRST_NODE_ONLY: &str = "per-worker";

/// Every node of `CLUSTR_NODES` (separated by colons), else the one in `PATH`.
///
/// # Panics
///
/// There is none, and `CI` is set.
pub(crate) fn nodes() -> &'static [Node] {
    static NODES: OnceLock<Vec<Node>> = OnceLock::new();
    NODES.get_or_init(|| {
        let wished = std::env::var("CLUSTR_NODES").unwrap_or_else(|_| "node".into());
        let programs = wished.split(':').filter(|program| !program.is_empty());
        let found: Vec<Node> = programs.filter_map(probe).collect();
        if found.is_empty() {
            missing("node");
        }
        found
    })
}

/// Says that something is missing, which is a failure where everything should be there.
///
/// # Panics
///
/// `CI` is set.
pub(crate) fn missing(what: &str) {
    println!("skipped: {what} not found");
    assert!(std::env::var_os("CI").is_none(), "{what} not found, and CI is set");
}

/// The folder of npm packages that `cargo xtask test` has made.
pub(crate) fn packages() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("CLUSTR_TEST_APPS")?).join("node_modules");
    folder.is_dir().then_some(folder)
}

/// Whether a package is there; says so if not.
pub(crate) fn has_package(name: &str) -> bool {
    let found = packages().is_some_and(|folder| folder.join(name).is_dir());
    if !found {
        missing(&format!("npm package {name}"));
    }
    found
}

/// Runs a case on each node in each sharing, prints its lines and fails at the end if one failed.
///
/// # Panics
///
/// The case failed on at least one node.
pub(crate) fn on_each_node(case: &str, body: impl Fn(&Node) -> Outcome) {
    on_some_nodes(case, |_| None, body);
}

/// The same, except where `unfit` gives a reason to leave a node out.
///
/// # Panics
///
/// The case failed on at least one node.
pub(crate) fn on_some_nodes(
    case: &str,
    unfit: impl Fn(&Node) -> Option<&'static str>,
    body: impl Fn(&Node) -> Outcome,
) {
    on_nodes(case, &SHARES, unfit, body);
}

/// Runs a case about how evenly connections are handed over while no other case of this program runs: a worker that the
/// host does not run cannot take its turn.
///
/// # Panics
///
/// The case failed on at least one node.
pub(crate) fn handed_over_alone(case: &str, body: impl Fn(&Node) -> Outcome) {
    let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    on_quiet_nodes(case, &["handoff"], |_| None, body);
}

/// Runs a case that is about connections that are handed over.
///
/// # Panics
///
/// The case failed on at least one node.
pub(crate) fn handed_over(case: &str, body: impl Fn(&Node) -> Outcome) {
    on_nodes(case, &["handoff"], |_| None, body);
}

/// Runs a case that is about a queue for each worker.
///
/// # Panics
///
/// The case failed.
pub(crate) fn queued(case: &str, body: impl Fn(&Node) -> Outcome) {
    on_nodes(case, &[FIRST_NODE_ONLY], |_| None, body);
}

fn on_nodes(
    case: &str,
    shares: &[&'static str],
    unfit: impl Fn(&Node) -> Option<&'static str>,
    body: impl Fn(&Node) -> Outcome,
) {
    let _beside_others = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    on_quiet_nodes(case, shares, unfit, body);
}

fn on_quiet_nodes(
    case: &str,
    shares: &[&'static str],
    unfit: impl Fn(&Node) -> Option<&'static str>,
    body: impl Fn(&Node) -> Outcome,
) {
    let mut faults = Vec::new();
    for (place, share) in (0..nodes().len()).flat_map(|place| shares.iter().map(move |share| (place, *share)))
    {
        // A case about it alone is about what node does there: that is tried with each.
        if share == FIRST_NODE_ONLY && place > 0 && shares.len() > 1 {
            continue;
        }
        let node = &Node { share, ..nodes()[place].clone() };
        let mark = if share == "shared" { String::new() } else { format!(" [{share}]") };
        let version = format!("{}{mark}", node.version);
        match unfit(node).map_or_else(|| Ok(body(node)), Err) {
            Err(why) => println!("conformance: {case} node {version} skipped {why}"),
            Ok(Ok(())) => println!("conformance: {case} node {version} ok"),
            Ok(Err(why)) => {
                println!(
                    "conformance: {case} node {version} FAILED {}",
                    why.lines().next().unwrap_or_default()
                );
                faults.push(format!("node {version}: {why}"));
            }
        }
    }
    assert!(faults.is_empty(), "{case}:\n{}", faults.join("\n"));
}

/// Runs a body with the first node, or says that there is none.
///
/// # Panics
///
/// The body failed.
pub(crate) fn with_node(body: impl FnOnce(&Node) -> Outcome) {
    if let Some(node) = nodes().first() {
        super::hold(body(node));
    }
}

/// What a script prints on this node, as JSON.
///
/// # Errors
///
/// It fails, or prints something else.
pub(crate) fn ask(node: &Node, script: &str, args: &[&str]) -> Result<serde_json::Value, String> {
    let mut command = Command::new(&node.program);
    command.arg(super::app(script)).args(args);
    if let Some(folder) = packages() {
        command.env("NODE_PATH", folder);
    }
    let said = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&said.stdout);
    serde_json::from_str(&text)
        .map_err(|error| format!("{script}: {error}: '{text}' {}", String::from_utf8_lossy(&said.stderr)))
}

fn probe(program: &str) -> Option<Node> {
    let said = Command::new(program).args(["-p", "process.versions.node"]).output().ok()?;
    let version = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    let mut numbers = version.split('.').map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(Node { program: program.to_owned(), version, major, minor, share: SHARES[0] })
}
