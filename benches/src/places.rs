//! Where the programs are that are measured.
//!
//! Owns finding them next to the running one, and building them if they are not there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that are measured.
const PROGRAMS: [&str; 3] = ["clustr", "trivial", "bare"];

/// The programs that are measured, all of one profile.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of built programs.
    pub folder: PathBuf,
    /// `clustr` itself.
    pub clustr: PathBuf,
    /// The trivial worker.
    pub trivial: PathBuf,
    /// The bare loops.
    pub bare: PathBuf,
}

impl Places {
    /// Finds them beside the running program, or builds them.
    ///
    /// # Errors
    ///
    /// They cannot be built.
    pub fn find() -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let folder = own.parent().ok_or("no folder")?.to_path_buf();
        let [clustr, trivial, bare] = PROGRAMS.map(|program| folder.join(program));
        let places = Self { folder, clustr, trivial, bare };
        if PROGRAMS.iter().any(|program| !places.folder.join(program).exists()) {
            build()?;
        }
        Ok(places)
    }

    /// Where reports are kept: `bench` in the target folder.
    #[must_use]
    pub fn reports(&self) -> PathBuf {
        self.folder.parent().unwrap_or(&self.folder).join("bench")
    }

    /// The workspace's own folder.
    #[must_use]
    pub fn root() -> PathBuf {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.parent().unwrap_or(here).to_path_buf()
    }

    /// Where the chore keeps the peers that it fetched.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.folder.parent().unwrap_or(&self.folder).join("xtask/peers")
    }

    /// A file of `benches/peers`.
    #[must_use]
    pub fn peer(file: &str) -> String {
        format!("{}/peers/{file}", env!("CARGO_MANIFEST_DIR"))
    }
}

fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "clustr-cli", "--package", "clustr-benches"]);
    command
        .args(PROGRAMS.iter().flat_map(|program| ["--bin", program]))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("clustr could not be built".into()) }
}
