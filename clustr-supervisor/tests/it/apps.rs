//! Several apps under one primary, as the control socket shows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use clustr_core::{Intensity, Overdue, Policy, Verdict};
use clustr_net::notify::{Inbox, Word};
use clustr_supervisor::config::{Config, Listen, NewsFormat, Output, Program, ReadyWhen};
use clustr_supervisor::{StartError, Supervisor};

use crate::fixture::{Client, connect_to};
use crate::notices::hear;

/// A primary of shells: each app runs its own script, `NAME.sh`.
struct Shells {
    folder: tempfile::TempDir,
    thread: JoinHandle<Result<Verdict, StartError>>,
}

impl Shells {
    /// `web:db` is an app and the one that it is after.
    fn start(apps: &[&str]) -> Self {
        Self::start_with(apps, |_| {})
    }

    /// The same, with other wishes of each.
    fn start_with(apps: &[&str], change: impl Fn(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("shop.sock");
        let mut configs: Vec<Config> = apps.iter().map(|words| app(folder.path(), &socket, words)).collect();
        configs.iter_mut().for_each(change);
        let thread = std::thread::spawn(move || Supervisor::of_apps("shop", configs)?.run());
        Self { folder, thread }
    }

    fn connect(&self) -> Client {
        connect_to(&self.folder.path().join("shop.sock"))
    }

    fn write(&self, app: &str, script: &str) {
        fs::write(self.folder.path().join(format!("{app}.sh")), script).unwrap();
    }

    /// Asks, and compares the answer, or its beginning.
    fn play(&self, lines: &[(&str, &[&str])]) {
        let mut client = self.connect();
        for (request, answers) in lines {
            client.send(request);
            for answer in *answers {
                let said = client.receive();
                assert!(said.starts_with(answer), "\n{request}\nexpected {answer}\nreceived {said}");
            }
        }
    }

    fn wait_for(&self, state: &str) {
        let mut client = self.connect();
        let begun = std::time::Instant::now();
        loop {
            client.send(r#"{"id":0,"cmd":"status"}"#);
            let said = client.receive();
            if said.contains(state) {
                return;
            }
            assert!(begun.elapsed() < crate::fixture::DEADLINE, "no {state} in {said}");
        }
    }

    fn end(self) -> Verdict {
        self.play(&[(
            r#"{"id":99,"cmd":"stop"}"#,
            &[r#"{"id":99,"ok":true,"state":"accepted"}"#, r#"{"id":99,"ok":true,"state":"done"}"#],
        )]);
        self.thread.join().unwrap().unwrap()
    }
}

fn app(folder: &Path, socket: &Path, words: &str) -> Config {
    let (name, after) = words.split_once(':').unwrap_or((words, ""));
    let script: PathBuf = folder.join(format!("{name}.sh"));
    fs::write(&script, if name == "bad" { "exit 3\n" } else { "exec sleep 1000\n" }).unwrap();
    let program = Program { command: vec!["sh".into(), script.into()], env: Vec::new(), cwd: None };
    let once = Intensity { restarts: 1, period: Duration::from_secs(60) };
    let policy = Policy::builder(1).overdue(Overdue::Fails).intensity(once).build().unwrap();
    let mut config = Config::new(name, program, policy);
    config.after = after.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    config.ready = ReadyWhen::Delay(Duration::from_millis(20));
    config.control = Some(socket.to_owned());
    config.output = Output::None;
    config.news = NewsFormat::Json;
    config.subreaper = false;
    config.signals = clustr_supervisor::config::Signals::None;
    config
}

#[test]
fn what_is_for_one_app_is_refused_where_none_is_named_and_there_are_several() {
    let shells = Shells::start(&["db", "web:db"]);
    shells.wait_for(r#""name":"shop","pid":"#);
    shells.wait_for(r#""name":"web","state":"running""#);
    let which = r#"{"id":1,"ok":false,"refusal":"which-app","detail":"here are several apps, and this is for one: db, web","hint":"--app NAME"}"#;
    shells.play(&[
        (r#"{"id":1,"cmd":"scale","to":2}"#, &[which]),
        (r#"{"id":1,"cmd":"difference"}"#, &[which]),
        (r#"{"id":1,"cmd":"status","slot":0}"#, &[which]),
        (r#"{"id":1,"cmd":"restart","slot":0}"#, &[which]),
        (r#"{"id":1,"cmd":"signal","signal":"CONT","slot":0}"#, &[which]),
        (r#"{"id":1,"cmd":"reload","env":{"A":"1"}}"#, &[which]),
        (r#"{"id":2,"cmd":"signal","signal":"CONT"}"#, &[r#"{"id":2,"ok":true,"state":"done"}"#]),
        (r#"{"id":3,"cmd":"signal","signal":"NO"}"#, &[r#"{"id":3,"ok":false,"refusal":"bad-request""#]),
        (r#"{"id":4,"app":"cache","cmd":"status"}"#, &[r#"{"id":4,"ok":false,"refusal":"no-such-app","detail":"there is no app named 'cache': here are db, web""#]),
        (r#"{"id":5,"app":"web","cmd":"scale","to":2}"#, &[r#"{"id":5,"ok":true,"state":"accepted"}"#, r#"{"id":5,"ok":true,"state":"done"}"#]),
        (r#"{"id":6,"app":"web","cmd":"status","slot":1}"#, &[r#"{"id":6,"ok":true,"state":"done","status":{"version":1,"name":"shop""#]),
    ]);
    assert_eq!(shells.end(), Verdict::Stopped);
}

#[test]
fn a_reload_of_all_ends_with_the_first_that_fails_and_says_which() {
    let shells = Shells::start(&["db", "web"]);
    shells.wait_for(r#""name":"shop","pid":"#);
    shells.wait_for(r#""state":"running","uptime"#);
    let done = r#"{"id":1,"ok":true,"state":"done"}"#;
    let accepted = r#"{"id":1,"ok":true,"state":"accepted"}"#;
    shells.play(&[(r#"{"id":1,"cmd":"reload","settle_ms":0}"#, &[accepted, done])]);
    shells.wait_for(r#""name":"db","state":"running","generation":2,"#);
    shells.write("db", "exit 3\n");
    let mut news = shells.connect();
    news.send(r#"{"id":7,"cmd":"subscribe"}"#);
    assert_eq!(news.receive(), r#"{"id":7,"ok":true,"state":"done"}"#);
    let mut client = shells.connect();
    client.send(r#"{"id":1,"cmd":"reload","settle_ms":0}"#);
    assert_eq!(client.receive(), accepted);
    let failed = client.receive();
    assert!(
        failed.contains(r#""ok":false,"#)
            && failed.contains("app=db: ")
            && failed.contains(r"\nleft as they are: web"),
        "{failed}"
    );
    news.wait_for("app=db has failed, left as they are: web");
    shells.wait_for(r#""name":"web","state":"running","generation":2,"#);
    shells.end();
}

#[test]
fn an_app_is_stopped_by_itself_and_its_news_is_heard_by_itself() {
    let shells = Shells::start(&["db", "web:db", "front:web"]);
    let mut news = shells.connect();
    news.send(r#"{"id":7,"cmd":"subscribe","app":"front"}"#);
    assert_eq!(news.receive(), r#"{"id":7,"ok":true,"state":"done"}"#);
    shells.wait_for(r#""name":"front","state":"running""#);
    let told = news.wait_for(r#""news":"running""#);
    assert!(told.contains(r#""app":"front""#), "{told}");
    shells.play(&[(
        r#"{"id":1,"app":"front","cmd":"stop"}"#,
        &[r#"{"id":1,"ok":true,"state":"accepted"}"#, r#"{"id":1,"ok":true,"state":"done"}"#],
    )]);
    shells.wait_for(r#""name":"front","state":"stopped","after":["web"]"#);
    shells.play(&[(
        r#"{"id":2,"app":"front","cmd":"restart"}"#,
        &[r#"{"id":2,"ok":false,"refusal":"ended","detail":"app=front has ended""#],
    )]);
    assert_eq!(shells.end(), Verdict::Stopped);
}

#[test]
fn whoever_supervises_a_primary_is_told_once_all_apps_that_can_run_do() {
    let name = format!("clustr-test-apps-{}", std::process::id());
    let above = Inbox::at_abstract(name.as_bytes()).unwrap();
    let shells = Shells::start_with(&["good", "bad", "late:bad"], |config| {
        config.above.notify_socket = Some(above.value().to_owned());
    });
    let mut told = Vec::new();
    hear(&above, &mut told, &Word::Ready);
    shells.wait_for(r#""name":"good","state":"running""#);
    shells.wait_for(r#""name":"bad","state":"gave-up""#);
    shells.wait_for(r#""name":"late","state":"not-started""#);
    assert!(!told.contains(&Word::Stopping), "{told:?}");
    assert_eq!(shells.end(), Verdict::GaveUp);
    hear(&above, &mut told, &Word::Stopping);
}

#[test]
fn what_cannot_be_several_apps_is_an_error_of_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("shop.sock");
    let made = |words: [&str; 2], listen: &str| {
        let mut apps = words.map(|words| app(folder.path(), &socket, words));
        for config in &mut apps {
            config.ready = ReadyWhen::Auto;
            config.listen = vec![Listen::new("web", listen.parse().unwrap())];
        }
        Supervisor::of_apps("shop", Vec::from(apps)).map(drop)
    };
    let why = |words, listen| made(words, listen).unwrap_err();
    assert_eq!(why(["a:b", "b:a"], "127.0.0.1:0").to_string(), "apps wait for each other: a after b after a");
    assert_eq!(why(["a", "a"], "127.0.0.1:0").to_string(), "two apps are named 'a'");
    let twice = why(["a", "b"], "127.0.0.1:9");
    let source = std::error::Error::source(&twice).unwrap().to_string();
    assert_eq!(
        (twice.to_string(), source),
        ("app 'b'".into(), "127.0.0.1:9 is to be listened on twice".into())
    );
    assert!(Supervisor::of_apps("shop", Vec::new()).is_err());
    made(["a", "b"], "127.0.0.1:0").unwrap();
}
