//! Golden tables, in tests only: what a machine prints of itself, compared with a file in `tests/golden`.
//!
//! `CLUSTR_BLESS=1` writes the files anew; the difference is then read like any other change.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::path::PathBuf;

use crate::action::{Action, Actions};

/// Fails if `printed` is not what `tests/golden/{name}` says.
pub(crate) fn compare(name: &str, printed: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("CLUSTR_BLESS").is_some() {
        std::fs::write(&path, printed).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = printed.lines().zip(golden.lines()).find(|(now, then)| now != then);
    assert!(
        printed == golden,
        "{name} is no longer what the machine does; CLUSTR_BLESS=1 writes it anew. First difference: {differs:#?}"
    );
}

/// Orders by their names, news in brackets.
pub(crate) fn orders(actions: &Actions) -> String {
    let names: Vec<String> = actions.as_slice().iter().map(order).collect();
    if names.is_empty() { "-".to_string() } else { names.join(" ") }
}

fn order(action: &Action) -> String {
    match action {
        Action::Notify(notice) => format!("[{}]", name(&format!("{notice:?}"))),
        Action::Answer(_, answer) => format!("Answer:{}", name(&format!("{answer:?}"))),
        Action::Leave(verdict) => format!("Leave:{verdict:?}"),
        Action::Spawn(..)
        | Action::Begin(..)
        | Action::Forget(_)
        | Action::Admit(_)
        | Action::Withhold(_)
        | Action::Drain(_)
        | Action::Terminate(_)
        | Action::Kill(_) => name(&format!("{action:?}")),
    }
}

/// The variant's own name, without what it holds.
pub(crate) fn name(debug: &str) -> String {
    debug.chars().take_while(|letter| letter.is_alphanumeric()).collect()
}
