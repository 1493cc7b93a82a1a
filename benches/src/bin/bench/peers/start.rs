//! How each peer is started, with the same app and as many workers.
//!
//! Owns the command lines: what each peer's own manual recommends for a server of N workers, and nothing tuned.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use clustr_benches::places::Places;
use clustr_benches::primary::{Primary, free_port};
use clustr_benches::started::Started;

use super::configs;
use super::server::{Other, Reload, Server};
use super::{Name, Peers};
use crate::setting::Setting;

/// What the workers run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum App {
    /// Answers `hello`.
    Hello,
    /// Answers its pid.
    Pid,
    /// Answers `hello`, and writes the moment when it listens into the FIFO of the variable `BIRTHS`.
    Announce,
}

impl App {
    fn node(self) -> String {
        Places::peer(match self {
            Self::Hello => "hello.js",
            Self::Pid => "pid.js",
            Self::Announce => "announce.js",
        })
    }

    /// Whether those who do not run node can serve the same.
    const fn is_plain(self) -> bool {
        match self {
            Self::Hello | Self::Pid => true,
            Self::Announce => false,
        }
    }
}

/// An app, so many times, with these variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet<'a> {
    pub(crate) app: App,
    pub(crate) workers: u32,
    pub(crate) env: &'a [(&'a str, &'a str)],
}

impl Fleet<'_> {
    pub(crate) const fn of(app: App, workers: u32) -> Self {
        Self { app, workers, env: &[] }
    }
}

/// clustr with an app of node.
pub(crate) fn clustr(setting: &Setting, options: &[&str], fleet: Fleet<'_>) -> Result<Server, String> {
    ours(setting, options, fleet, &["node", &fleet.app.node()])
}

/// clustr with any command; it is ready when this returns.
pub(crate) fn ours(
    setting: &Setting,
    options: &[&str],
    fleet: Fleet<'_>,
    command: &[&str],
) -> Result<Server, String> {
    let workers = fleet.workers.to_string();
    let env: Vec<String> = fleet.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let env = env.iter().flat_map(|pair| ["--env", pair.as_str()]);
    let options: Vec<&str> = ["-n", &workers].into_iter().chain(env).chain(options.iter().copied()).collect();
    let primary = Primary::start(&setting.places.clustr, &options, command)?;
    primary.wait_ready(u64::from(fleet.workers))?;
    Ok(Server::Clustr(primary))
}

/// A bare loop of `bare`, whose first words are these; the port and the number of workers follow, then the app of node.
pub(crate) fn bare(setting: &Setting, part: &str, fleet: Fleet<'_>) -> Result<Server, String> {
    let mut site = Site::new(fleet)?;
    let mut command = Command::new(&setting.places.bare);
    command.args([part, &site.port.to_string()]);
    if !part.starts_with("serve") {
        command.arg(fleet.workers.to_string());
    }
    if part.starts_with("node-") {
        command.arg(fleet.app.node());
    }
    site.start(command, Reload::Never)
}

/// A bare loop that starts as many of any command; the port, the number of workers and the command follow its first word.
pub(crate) fn bare_of(
    setting: &Setting,
    part: &str,
    fleet: Fleet<'_>,
    command: &[&str],
) -> Result<Server, String> {
    let mut site = Site::new(fleet)?;
    let mut starting = Command::new(&setting.places.bare);
    starting.args([part, &site.port.to_string(), &fleet.workers.to_string()]).args(command);
    site.start(starting, Reload::Never)
}

/// A peer; `policy` is node's own choice of how connections are shared. `None` if it is not there, or cannot run this app.
pub(crate) fn peer(
    setting: &Setting,
    name: Name,
    policy: &str,
    fleet: Fleet<'_>,
) -> Result<Option<Server>, String> {
    let Some(program) = setting.peers.program(name) else { return Ok(None) };
    let mut site = Site::new(fleet)?;
    let workers = fleet.workers.to_string();
    let port = site.port.to_string();
    let mut command = Command::new(program);
    let mut reload = Reload::Never;
    match name {
        Name::Node => {
            command.args([Places::peer("cluster.js"), fleet.app.node(), workers]);
            command.env("NODE_CLUSTER_SCHED_POLICY", policy);
            reload = Reload::ByHup;
        }
        Name::Pm2 => {
            command.args(["start", &fleet.app.node(), "-i", &workers]).env("PM2_HOME", &site.folder);
            let mut order = Command::new(program.with_file_name("pm2"));
            order.args(["reload", "all"]).env("PM2_HOME", &site.folder).stdin(Stdio::null());
            reload = Reload::ByCommand(Box::new(order));
        }
        Name::Gunicorn | Name::Uwsgi | Name::Nginx if !fleet.app.is_plain() => return Ok(None),
        Name::Gunicorn => {
            command.args(["--workers", &workers, "--bind", &format!("127.0.0.1:{port}")]);
            command.args(["--log-level", "error", "--chdir", &Places::peer(""), "hello:app"]);
            reload = Reload::ByHup;
        }
        Name::Uwsgi => {
            command.args([
                "--http-socket",
                &format!("127.0.0.1:{port}"),
                "--master",
                "--processes",
                &workers,
            ]);
            command.args(["--wsgi-file", &Places::peer("hello.py"), "--callable", "app", "--need-app"]);
            command.args(["--disable-logging", "--die-on-term", "--listen", "1024"]);
            // Its manual's way to reload without a gap; and the packaged program cannot execute itself anew.
            let file = site.write("touched", "")?;
            command.args(["--lazy-apps", "--touch-chain-reload"]).arg(&file);
            reload = Reload::ByTouching(file);
        }
        Name::Nginx => {
            let file = site.write("nginx.conf", &configs::nginx(&site.folder, &port, &workers, fleet.app))?;
            command.arg("-c").arg(file).arg("-p").arg(&site.folder).args(["-e", "stderr"]);
            reload = Reload::ByHup;
        }
        Name::Circus => {
            let file = site.write("circus.ini", &configs::circus(&site.folder, &port, &workers, &fleet))?;
            command.arg("--log-level").arg("error").arg(file);
            let mut order = Command::new(program.with_file_name("circusctl"));
            let endpoint = format!("ipc://{}/endpoint", site.folder.display());
            order.args(["--endpoint", &endpoint, "reload"]).stdin(Stdio::null());
            reload = Reload::ByCommand(Box::new(order));
        }
        Name::Supervisord => {
            let file = site.write("supervisord.conf", &configs::supervisord(&site.folder, &port, &fleet))?;
            command.arg("--nodaemon").arg("--configuration").arg(file);
        }
    }
    site.start(command, reload).map(Some)
}

/// A peer with so many of a program that is no server; `None` if it is not there, or runs servers only.
pub(crate) fn many(
    setting: &Setting,
    name: Name,
    workers: u32,
    command: &[&str],
) -> Result<Option<Server>, String> {
    let Some(found) = setting.peers.program(name) else { return Ok(None) };
    let mut site = Site::new(Fleet::of(App::Hello, workers))?;
    let mut starting = Command::new(found);
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let count = workers.to_string();
    match name {
        Name::Node => {
            starting.args([&Places::peer("spawn.js"), &count]).args(command);
        }
        Name::Pm2 => {
            starting.args(["start", program, "--interpreter", "none", "-i", &count, "--"]).args(arguments);
            starting.env("PM2_HOME", &site.folder);
        }
        Name::Circus => {
            let file = site.write("circus.ini", &configs::circus_of(&site.folder, workers, command))?;
            starting.arg("--log-level").arg("error").arg(file);
        }
        Name::Supervisord => {
            let settings = configs::supervisord_of(&site.folder, workers, command);
            starting.arg("--nodaemon").arg("--configuration").arg(site.write("supervisord.conf", &settings)?);
        }
        Name::Gunicorn | Name::Nginx | Name::Uwsgi => return Ok(None),
    }
    site.start(starting, Reload::Never).map(|server| Some(server.without_ceremony()))
}

impl Peers {
    /// The app's file for those who are given the listener as a descriptor.
    pub(super) fn on_descriptor(app: App) -> [String; 2] {
        [Places::peer("listening.js"), app.node()]
    }
}

/// A port and a folder for one server.
struct Site<'a> {
    fleet: Fleet<'a>,
    port: u16,
    folder: PathBuf,
}

impl<'a> Site<'a> {
    fn new(fleet: Fleet<'a>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("clustr-peer-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { fleet, port: free_port(), folder })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn start(&mut self, mut command: Command, reload: Reload) -> Result<Server, String> {
        let log =
            |name: &str| std::fs::File::create(self.folder.join(name)).map_err(|error| error.to_string());
        let answer = if self.fleet.app == App::Pid { "pid" } else { "hello" };
        command.env("ANSWER", answer).env("PORT", self.port.to_string()).envs(self.fleet.env.iter().copied());
        command.env_remove("WEB_CONCURRENCY").current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
        command.stdin(Stdio::null()).stdout(log("out")?).stderr(log("err")?);
        let alive = Started::with_output(&mut command)?;
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        Ok(Server::Other(Other { alive, address, folder: self.folder.clone(), reload, asked_to_end: true }))
    }
}
