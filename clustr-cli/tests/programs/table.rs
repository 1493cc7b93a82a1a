//! The programs: what each needs, how it is started, what it speaks, which version it is.
//!
//! Owns the list. Whatever is not built by us is looked for in `PATH`; `cargo xtask compat programs` puts there what it
//! has fetched. Never starts a server.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::clients::Speech;

/// Where the servers' texts are.
pub(crate) const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/servers");

/// What is built from them, kept from run to run.
const BUILT: &str = env!("CARGO_TARGET_TMPDIR");

/// Where a program listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Port,
    Datagrams,
    Path,
}

/// What clients may see of the end of a worker that has nothing in hand, and of a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Changes {
    /// Nothing.
    AreNotSeen,
    /// Workers that share one queue accept until they are gone: what they have then goes with them. And whoever shuts down
    /// its listener does that to its queue: who comes in that moment is reset.
    TakeWhatWasAccepted,
    /// The same; and between its `unlink` and its `bind` a program that starts has removed the path.
    LeaveAGap,
    /// Nothing is promised for datagrams while the set of workers changes.
    MayBeSeen,
}

/// The folder of one run, in which all texts are, and where to listen.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) path: PathBuf,
}

/// A program, or a launcher with what it starts.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) speech: Speech,
    pub(crate) changes: Changes,
    /// Programs of the machine without which it cannot be.
    needs: &'static [&'static str],
    /// What says its version.
    version: &'static [&'static str],
    words: fn(&Site) -> Result<Vec<String>, String>,
}

impl Program {
    /// What is missing, if it cannot be started.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        self.needs.iter().copied().find(|name| in_path(name).is_none())
    }

    /// What is started in the run's folder.
    pub(crate) fn words(&self, site: &Site) -> Result<Vec<String>, String> {
        (self.words)(site)
    }

    /// Its number, as it says it.
    pub(crate) fn version(&self) -> String {
        let said = self.version.split_first().and_then(|(program, args)| {
            let program = in_path(program)?;
            let output = Command::new(program).args(args).current_dir(SERVERS).output().ok()?;
            let said = [output.stdout, output.stderr].concat();
            number(&String::from_utf8_lossy(&said))
        });
        said.unwrap_or_else(|| "-".to_owned())
    }
}

/// Every program of the matrix, launchers last.
pub(crate) fn all() -> Vec<Program> {
    [scripts(), compiled(), daemons(), app_servers(), other_places(), launchers()]
        .into_iter()
        .flatten()
        .collect()
}

/// Programs that an interpreter runs.
fn scripts() -> Vec<Program> {
    vec![
        Program {
            name: "python3 -m http.server",
            needs: &["python3"],
            version: &["python3", "--version"],
            words: |site| line(&["python3", "-m", "http.server", "--bind", "127.0.0.1", &port(site)]),
            ..HTTP
        },
        Program {
            name: "node, without its channel",
            needs: &["node"],
            version: &["node", "--version"],
            // In front of node stands a shell that is gone by then: clustr would see node, and offer its channel.
            words: |_| line(&["sh", "-c", "exec node http.js"]),
            ..HTTP
        },
        Program {
            name: "Ruby, WEBrick",
            needs: &["ruby"],
            version: &["ruby", "--version"],
            words: |site| line(&["ruby", "webrick.rb", &port(site)]),
            changes: Changes::TakeWhatWasAccepted,
            ..HTTP
        },
        Program {
            name: "php -S",
            needs: &["php"],
            version: &["php", "--version"],
            words: |site| line(&["php", "-q", "-S", &format!("127.0.0.1:{}", site.port), "router.php"]),
            ..HTTP
        },
        Program {
            name: "Deno",
            needs: &["deno"],
            version: &["deno", "--version"],
            words: |site| line(&["deno", "run", "--allow-net", "deno.ts", &port(site)]),
            ..HTTP
        },
        Program {
            name: "Bun",
            needs: &["bun"],
            version: &["bun", "--version"],
            words: |site| line(&["bun", "bun.ts", &port(site)]),
            ..HTTP
        },
        Program {
            name: "perl",
            needs: &["perl"],
            version: &["perl", "-v"],
            words: |site| line(&["perl", "http.pl", &port(site)]),
            ..HTTP
        },
    ]
}

/// Programs that are built from a text of ours.
fn compiled() -> Vec<Program> {
    vec![
        Program {
            name: "Go, static",
            needs: &["go"],
            version: &["go", "version"],
            words: |site| line(&[&built("go", &["build", "-o"], "http.go")?, &port(site)]),
            ..HTTP
        },
        Program {
            name: "Rust, std, static",
            needs: &["rustc"],
            version: &["rustc", "--version"],
            words: |site| {
                let options = ["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"];
                line(&[&built("rustc", &options, "http.rs")?, &port(site)])
            },
            ..HTTP
        },
        Program {
            name: "Rust, axum",
            version: &["rustc", "--version"],
            words: |site| line(&[&example("plain_axum")?, &port(site)]),
            ..HTTP
        },
        Program {
            name: "Java, HttpServer",
            needs: &["java"],
            version: &["java", "-version"],
            words: |site| line(&["java", "Http.java", &port(site)]),
            ..HTTP
        },
        Program {
            name: "Java, ServerSocket",
            needs: &["java"],
            version: &["java", "-version"],
            words: |site| line(&["java", "Blocking.java", &port(site)]),
            ..HTTP
        },
    ]
}

/// Servers as they come.
fn daemons() -> Vec<Program> {
    vec![
        Program {
            name: "nginx, in the foreground",
            needs: &["nginx"],
            version: &["nginx", "-v"],
            words: nginx,
            ..HTTP
        },
        Program {
            name: "redis",
            needs: &["redis-server"],
            version: &["redis-server", "--version"],
            words: |site| {
                line(&["redis-server", "--port", &port(site), "--save", "", "--loglevel", "warning"])
            },
            speech: Speech::Line { ask: "PING\r\n", answer: "+PONG" },
            ..HTTP
        },
        Program {
            name: "memcached",
            needs: &["memcached"],
            version: &["memcached", "--version"],
            words: |site| line(&["memcached", "-u", "root", "-l", "127.0.0.1", "-p", &port(site)]),
            speech: Speech::Line { ask: "version\r\n", answer: "VERSION " },
            ..HTTP
        },
    ]
}

/// Servers of an app.
fn app_servers() -> Vec<Program> {
    vec![
        Program {
            name: "Puma",
            needs: &["puma"],
            version: &["puma", "--version"],
            words: |site| {
                line(&["puma", "--quiet", "--bind", &format!("tcp://127.0.0.1:{}", site.port), "config.ru"])
            },
            ..HTTP
        },
        Program {
            name: "gunicorn",
            needs: &["gunicorn"],
            version: &["gunicorn", "--version"],
            words: |site| {
                let bind = format!("127.0.0.1:{}", site.port);
                line(&[
                    &python_server("gunicorn")?,
                    "--chdir",
                    &apps(),
                    "--log-level",
                    "warning",
                    "--bind",
                    &bind,
                    "wsgi:app",
                ])
            },
            ..HTTP
        },
        Program {
            name: "uvicorn",
            needs: &["uvicorn"],
            version: &["uvicorn", "--version"],
            words: |site| {
                let program = python_server("uvicorn")?;
                line(&[
                    &program,
                    "--app-dir",
                    &apps(),
                    "--log-level",
                    "warning",
                    "--port",
                    &port(site),
                    "asgi:app",
                ])
            },
            ..HTTP
        },
    ]
}

/// Sockets that are something else, or are used otherwise.
fn other_places() -> Vec<Program> {
    const PYTHON: Program = Program { needs: &["python3"], version: &["python3", "--version"], ..HTTP };
    vec![
        Program {
            name: "Python, epoll before bind",
            words: |site| line(&["python3", "epoll.py", &port(site)]),
            ..PYTHON
        },
        Program {
            name: "Python, UDP",
            words: |site| line(&["python3", "echo.py", &port(site)]),
            place: Place::Datagrams,
            changes: Changes::MayBeSeen,
            speech: Speech::Line { ask: "who?\n", answer: "" },
            ..PYTHON
        },
        Program {
            name: "Python, AF_UNIX",
            words: |site| line(&["python3", "path.py", &site.path.to_string_lossy()]),
            place: Place::Path,
            changes: Changes::TakeWhatWasAccepted,
            ..PYTHON
        },
        Program {
            name: "Python, AF_UNIX, unlinked first",
            words: |site| line(&["python3", "path.py", &site.path.to_string_lossy(), "unlink"]),
            place: Place::Path,
            changes: Changes::LeaveAGap,
            ..PYTHON
        },
    ]
}

fn launchers() -> Vec<Program> {
    const NODE: Program = Program { needs: &["node"], version: &["node", "--version"], ..HTTP };
    const NPM: Program = Program { needs: &["node", "npm"], version: &["npm", "--version"], ..HTTP };
    vec![
        Program { name: "node --watch", words: |_| line(&["node", "--watch", "http.js"]), ..NODE },
        Program { name: "npm start", words: |_| line(&["npm", "start"]), ..NPM },
        Program { name: "npm run web", words: |_| line(&["npm", "run", "web"]), ..NPM },
        Program {
            name: "npx tsx typed.ts",
            needs: &["node", "npx", "tsx"],
            words: |site| with_modules(site, "tsx", &["npx", "tsx", "typed.ts"]),
            version: &["tsx", "--version"],
            ..HTTP
        },
        Program {
            name: "yarn start",
            needs: &["node", "yarn"],
            version: &["yarn", "--version"],
            words: |_| line(&["yarn", "start"]),
            ..HTTP
        },
        Program {
            name: "pnpm start",
            needs: &["node", "pnpm"],
            version: &["pnpm", "--version"],
            words: |_| line(&["pnpm", "start"]),
            ..HTTP
        },
        Program {
            name: "bundle exec puma",
            needs: &["bundle", "puma"],
            version: &["bundle", "--version"],
            words: |site| {
                let bind = format!("tcp://127.0.0.1:{}", site.port);
                line(&["bundle", "exec", "puma", "--quiet", "--bind", &bind, "config.ru"])
            },
            ..HTTP
        },
        Program {
            name: "a shell script that stays",
            needs: &["sh", "python3"],
            words: |site| line(&["sh", "http.sh", &port(site)]),
            ..HTTP
        },
    ]
}

/// What most are like.
const HTTP: Program = Program {
    name: "",
    place: Place::Port,
    speech: Speech::Http,
    changes: Changes::AreNotSeen,
    needs: &[],
    version: &[],
    words: |_| Err("nothing is started".to_owned()),
};

fn line(words: &[&str]) -> Result<Vec<String>, String> {
    let (program, args) = words.split_first().ok_or("no words")?;
    // By its path, if it is one of those that are looked for: in a primary's `PATH` it might be another.
    let program = in_path(program).map_or_else(|| (*program).to_owned(), |path| text(&path));
    Ok(std::iter::once(program).chain(args.iter().map(|word| (*word).to_owned())).collect())
}

fn port(site: &Site) -> String {
    site.port.to_string()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// With the port in its file: nginx reads none from the environment.
fn nginx(site: &Site) -> Result<Vec<String>, String> {
    let path = site.folder.join("nginx.conf");
    let conf = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    fs::write(&path, conf.replace("PORT", &port(site))).map_err(|error| error.to_string())?;
    line(&["nginx", "-p", &text(&site.folder), "-c", "nginx.conf", "-g", "pid nginx.{slot}.pid;"])
}

/// A virtual environment's program is a script that names its interpreter.
fn python_server(name: &str) -> Result<String, String> {
    in_path(name).map(|path| text(&path)).ok_or_else(|| format!("{name} not found"))
}

/// The apps of Python's servers.
fn apps() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apps").to_owned()
}

/// With the packages beside the program, as after `npm install`.
fn with_modules(site: &Site, tool: &str, words: &[&str]) -> Result<Vec<String>, String> {
    let program = in_path(tool).ok_or("a tool that is gone")?;
    let modules = program.ancestors().find(|folder| folder.ends_with("node_modules"));
    let modules = modules.ok_or_else(|| format!("{} is in no node_modules", program.display()))?;
    symlink(modules, site.folder.join("node_modules")).map_err(|error| error.to_string())?;
    line(words)
}

/// Builds a program from its text.
fn built(compiler: &str, options: &[&str], file: &str) -> Result<String, String> {
    let target = Path::new(BUILT).join(file.replace('.', "-"));
    let mut command = Command::new(in_path(compiler).ok_or("a compiler that is gone")?);
    command.args(options).arg(&target).arg(Path::new(SERVERS).join(file));
    command.env("CGO_ENABLED", "0").env("GOCACHE", Path::new(BUILT).join("go")).current_dir(BUILT);
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text(&target)) } else { Err(format!("{compiler} {file}: {said}")) }
}

/// Where cargo has put an example of `clustr-net`; it is built with the packages of a whole test run.
fn example(name: &str) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.parent().map(|folder| folder.with_file_name("examples").join(name));
    let path = path.filter(|path| path.exists());
    path.map(|path| text(&path)).ok_or_else(|| "run `cargo build --examples -p clustr-net` first".to_owned())
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Servers live where only root's `PATH` leads.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// The first number with a dot in it.
fn number(said: &str) -> Option<String> {
    let words = said.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let mut numbers = words.map(|word| word.trim_matches('.')).filter(|word| word.contains('.'));
    numbers.next().map(str::to_owned)
}

#[test]
fn a_version_is_the_first_number_with_a_dot() {
    assert_eq!(number("nginx version: nginx/1.22.1").as_deref(), Some("1.22.1"));
    assert_eq!(number("This is perl 5, version 36 (v5.36.0)").as_deref(), Some("5.36.0"));
    assert_eq!(number("Python."), None);
}
