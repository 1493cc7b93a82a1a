//! In which form a program takes part in a cluster: what can be known from the command alone.
//!
//! Owns the knowledge of node's command line and of the programs that start node. Never looks at a disk: the text
//! of a `package.json` script is asked of the caller. Called by `run` and `check` before anything is started.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::names::{basename, is_interpreter, shell_line};

/// A program, as far as its form of launch matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    /// `node` itself.
    Node,
    /// `deno`: speaks node's protocol, but never accepts on a shared listener.
    Deno,
    /// A program that starts node as its child and keeps the channel to itself.
    Launcher,
    /// Anything else.
    Other,
}

/// What a command's form says about running it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Nothing speaks against it.
    Fit,
    /// It runs, and something about it should be known: what, and what to type instead.
    Odd(String, String),
}

/// A command that cannot be a cluster's worker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LaunchError {
    /// `node -e`, `node -p`, `node -i`: no script file.
    Inline(String),
    /// `node`, `node < file`: no script file.
    NoScript,
    /// A launcher with more than one worker: its name, and what it would have run.
    Launcher(String, Vec<OsString>, Instead),
    /// deno with more than one worker.
    Deno,
}

/// What to run instead of a launcher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Instead {
    /// This command.
    Command(String),
    /// The script in package.json does not start node by itself: here it is.
    Foreign(String),
    /// Nothing is known.
    Unknown,
}

/// Options of node that take their value as the next word.
const NODE_OPTIONS_WITH_VALUE: [&str; 18] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "--env-file-if-exists",
    "--title",
    "--input-type",
    "--icu-data-dir",
    "--openssl-config",
    "--redirect-warnings",
    "--trace-event-categories",
    "--diagnostic-dir",
    "--experimental-default-type",
    "--dns-result-order",
];

/// Endings by which a script is recognised among an interpreter's arguments.
const SCRIPT_ENDINGS: [&str; 13] =
    ["js", "mjs", "cjs", "ts", "mts", "cts", "jsx", "tsx", "py", "rb", "php", "pl", "sh"];

impl Program {
    /// By the last part of its path, in lower case.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "node" | "nodejs" => Self::Node,
            "deno" => Self::Deno,
            "npm" | "npx" | "yarn" | "yarnpkg" | "pnpm" | "pnpx" | "tsx" | "ts-node" | "nodemon" => {
                Self::Launcher
            }
            _ => Self::Other,
        }
    }
}

/// Whether the command starts node itself.
pub(crate) fn is_node(command: &[OsString]) -> bool {
    Program::of(&split(command).0) == Program::Node
}

/// Whether the command starts node itself with a script file: then node asks over its own channel. Other programs, and
/// launchers that start node, bind for themselves.
pub(crate) fn takes_nodes_channel(command: &[OsString]) -> bool {
    let (program, args) = split(command);
    let scanned = scan_node(args);
    Program::of(&program) == Program::Node && scanned.inline.is_none() && scanned.launcher.is_none()
}

/// Whether `command` can be run as so many workers. `package_script` reads a script out of `package.json`.
///
/// # Errors
/// It cannot: see [`LaunchError`].
pub(crate) fn examine(
    command: &[OsString],
    workers: u32,
    package_script: impl Fn(&str) -> Option<String>,
) -> Result<Form, LaunchError> {
    let (program, args) = split(command);
    match Program::of(&program) {
        Program::Node => examine_node(args, workers, package_script),
        Program::Launcher => launcher(&program, command, workers, instead(&program, args, package_script)),
        Program::Deno if workers > 1 => Err(LaunchError::Deno),
        Program::Deno | Program::Other => Ok(Form::Fit),
    }
}

fn split(command: &[OsString]) -> (String, &[OsString]) {
    let (program, args) =
        command.split_first().map_or((OsStr::new(""), command), |(p, a)| (p.as_os_str(), a));
    (basename(program), args)
}

fn examine_node(
    args: &[OsString],
    workers: u32,
    package_script: impl Fn(&str) -> Option<String>,
) -> Result<Form, LaunchError> {
    let scanned = scan_node(args);
    if let Some(option) = scanned.inline {
        return Err(LaunchError::Inline(option));
    }
    if let Some(option) = scanned.launcher {
        let name = format!("node {option}");
        let command: Vec<OsString> = std::iter::once("node".into()).chain(args.iter().cloned()).collect();
        let instead = match (scanned.runs, scanned.script) {
            (Some(script), _) => by_script(package_script(&script)),
            (None, Some(at)) => Instead::Command(format!("node {}", shell_line(&args[at..]))),
            (None, None) => Instead::Unknown,
        };
        return launcher(&name, &command, workers, instead);
    }
    if scanned.script.is_none() { Err(LaunchError::NoScript) } else { Ok(Form::Fit) }
}

/// What node's own options say, up to its script.
#[derive(Debug, Default)]
struct NodeArgs {
    inline: Option<String>,
    launcher: Option<&'static str>,
    runs: Option<String>,
    script: Option<usize>,
}

fn scan_node(args: &[OsString]) -> NodeArgs {
    let mut found = NodeArgs::default();
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        let arg = arg.to_string_lossy();
        let name = arg.split_once('=').map_or(&*arg, |(name, _)| name);
        match name {
            "-" => found.script = Some(at),
            "--" => found.script = (at + 1 < args.len()).then_some(at + 1),
            "-e" | "--eval" | "-p" | "--print" | "-pe" | "-i" | "--interactive" => {
                found.inline = Some(name.to_owned());
            }
            "--watch" | "--watch-path" => found.launcher = found.launcher.or(Some("--watch")),
            "--run" => {
                found.launcher = Some("--run");
                let next = || args.get(at + 1).map(|next| next.to_string_lossy().into_owned());
                found.runs = arg.split_once('=').map(|(_, script)| script.to_owned()).or_else(next);
                return found;
            }
            _ if !name.starts_with('-') => found.script = Some(at),
            _ if NODE_OPTIONS_WITH_VALUE.contains(&&*arg) => at += 1,
            _ => {}
        }
        if found.script.is_some() || found.inline.is_some() {
            return found;
        }
        at += 1;
    }
    found
}

/// The script among a command's words, if its program is known to take one.
pub(crate) fn script(command: &[OsString]) -> Option<&OsStr> {
    let (program, args) = split(command);
    if Program::of(&program) == Program::Node {
        return scan_node(args).script.map(|at| args[at].as_os_str()).filter(|script| *script != "-");
    }
    let known = |arg: &&OsString| {
        Path::new(arg).extension().is_some_and(|found| SCRIPT_ENDINGS.iter().any(|ending| found == *ending))
    };
    args.iter().find(known).map(OsString::as_os_str).filter(|_| is_interpreter(&program))
}

fn launcher(name: &str, command: &[OsString], workers: u32, instead: Instead) -> Result<Form, LaunchError> {
    let error = LaunchError::Launcher(name.to_owned(), command.to_vec(), instead);
    if workers > 1 {
        return Err(error);
    }
    let what = format!(
        "{name} is a launcher: it keeps node's channel from the app, which is then stopped by signal"
    );
    Ok(Form::Odd(what, error.hint()))
}

fn instead(program: &str, args: &[OsString], package_script: impl Fn(&str) -> Option<String>) -> Instead {
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut plain = words.iter().map(String::as_str).skip_while(|word| word.starts_with('-'));
    let rest =
        |after: &str| words.iter().skip_while(|word| *word != after).skip(1).cloned().collect::<Vec<_>>();
    match (program, plain.next()) {
        ("tsx" | "ts-node" | "nodemon", Some(script)) => direct(program, script, &rest(script)),
        ("npx" | "pnpx", Some(tool)) => instead_of_tool(tool, &rest(tool)),
        ("npm" | "yarn" | "yarnpkg" | "pnpm", Some("exec" | "dlx" | "x")) => {
            plain.next().map_or(Instead::Unknown, |tool| instead_of_tool(tool, &rest(tool)))
        }
        ("npm" | "yarn" | "yarnpkg" | "pnpm", Some("run" | "run-script")) => {
            plain.next().map_or(Instead::Unknown, |script| by_script(package_script(script)))
        }
        ("npm" | "yarn" | "yarnpkg" | "pnpm", Some(script)) => by_script(package_script(script)),
        (_, _) => Instead::Unknown,
    }
}

fn instead_of_tool(tool: &str, rest: &[String]) -> Instead {
    match (tool, rest.split_first()) {
        ("tsx" | "ts-node" | "nodemon", Some((script, rest))) if !script.starts_with('-') => {
            direct(tool, script, rest)
        }
        (_, _) => Instead::Unknown,
    }
}

fn direct(tool: &str, script: &str, rest: &[String]) -> Instead {
    let loader: &[&str] = match tool {
        "tsx" => &["--import", "tsx"],
        "ts-node" => &["-r", "ts-node/register"],
        _ => &[],
    };
    let words = ["node"].iter().chain(loader).copied().chain([script]).chain(rest.iter().map(String::as_str));
    Instead::Command(shell_line(words))
}

/// A package's script can be run in the launcher's place if it is `node …` and nothing a shell is needed for.
fn by_script(script: Option<String>) -> Instead {
    match script {
        None => Instead::Unknown,
        Some(line) => {
            let plain = !line.contains(|c| "|&;<>()$`\\\"'*?[#~={}".contains(c));
            let first = line.split_whitespace().next().unwrap_or_default();
            if plain && Program::of(first) == Program::Node {
                Instead::Command(line)
            } else {
                Instead::Foreign(line)
            }
        }
    }
}

impl LaunchError {
    /// What is wrong.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Inline(option) => {
                format!("node takes part in a cluster only with a script file, not with {option}")
            }
            Self::NoScript => {
                "node takes part in a cluster only with a script file, and none is given".to_owned()
            }
            Self::Launcher(name, ..) => {
                format!("{name} is a launcher: more than one worker of it takes interception")
            }
            Self::Deno => "deno with more than one worker takes interception".to_owned(),
        }
    }

    /// Why.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Inline(_) | Self::NoScript => {
                "without one, node's cluster half does not start and the worker never gets its port"
                    .to_owned()
            }
            Self::Launcher(_, command, instead) => {
                let why = "it keeps node's channel from the app, so that only one worker gets the port";
                match instead {
                    Instead::Foreign(script) => format!("{why}; `{}` runs: {script}", shell_line(command)),
                    Instead::Command(_) | Instead::Unknown => why.to_owned(),
                }
            }
            Self::Deno => "deno does not accept on a listener that it shares".to_owned(),
        }
    }

    /// Something to type.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Inline(_) | Self::NoScript => "save it to a file: clustr run -- node app.js".to_owned(),
            Self::Launcher(_, _, Instead::Command(line)) => {
                format!("run the script itself: clustr run -- {line}")
            }
            Self::Launcher(_, command, Instead::Foreign(_)) => {
                format!("one worker works: clustr run -n 1 -- {}", shell_line(command))
            }
            Self::Launcher(_, _, Instead::Unknown) => {
                "run the script itself: clustr run -- node app.js".to_owned()
            }
            Self::Deno => "one worker works: clustr run -n 1 -- deno …".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
