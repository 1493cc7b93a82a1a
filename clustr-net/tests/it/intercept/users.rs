//! Other users: a primary that has no privilege, and programs that give theirs up.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use clustr_net::intercept::{Rules, Seen, Why};

use super::cases::{self, SERVE, local, script, slot_of, with};
use super::compiled::{STATIC, built, serve_two, stage};
use super::stage::{ask, free_port, python, works};

/// Who is nobody.
const NOBODY: u32 = 65534;

/// Set in a test program that was started by another.
const MARK: &str = "CLUSTR_TEST_OTHER_USER";

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("run as root to see other users' programs: nothing to see");
    }
    is_root
}

/// Why this test program was started by another.
fn is_marked(why: &str) -> bool {
    std::env::var_os(MARK).is_some_and(|mark| mark == why)
}

/// A folder that everybody may enter.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    folder
}

#[test]
fn a_program_of_another_user_is_shared_by_who_may_look_at_it() {
    let Some(mut stage) = stage().filter(|_| is_root()) else { return };
    let folder = open_folder();
    let Some(program) = built(folder.path(), "static", STATIC, &["-static"]) else { return };
    serve_two(&mut stage, &program, |command| {
        command.uid(NOBODY).gid(NOBODY);
    });
}

/// Gives up its privileges where `when` says so, as servers do that need them for a port.
fn gives_up(port: u16, when: &str) -> String {
    let now = |at| if at == when { "os.setgroups([]); os.setgid(65534); os.setuid(65534)" } else { "" };
    script(port, SERVE)
        + &format!(
            "
s = socket.socket()
{}
s.bind(('127.0.0.1', PORT))
{}
s.listen(9)
{}
serve(s)
",
            now("before bind"),
            now("before listen"),
            now("then")
        )
}

#[test]
fn a_program_that_gives_up_its_user_at_any_time_is_shared() {
    for when in ["before bind", "before listen", "then"] {
        let Some(mut stage) = cases::stage().filter(|_| is_root()) else { return };
        let port = free_port();
        let workers = [stage.python(0, &gives_up(port, when)), stage.python(1, &gives_up(port, when))];
        stage.ready(&workers);
        stage.kill(workers[0]);
        let successor = stage.python(0, &gives_up(port, when));
        stage.ready(&[successor]);
        let slots: std::collections::BTreeSet<u32> = (0..40).map(|_| slot_of(&ask(local(port)))).collect();
        assert_eq!(slots.len(), 2, "{when}");
        assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 2)], "{when}");
    }
}

/// Root itself binds below 1024 for a program that could not, if the port was named.
#[test]
fn a_privileged_port_that_is_named_is_bound_for_a_program_without_privileges() {
    let Some(port) = (900..1000).rev().find(|port| std::net::TcpListener::bind(local(*port)).is_ok()) else {
        return eprintln!("no privileged port can be bound: nothing to see");
    };
    let rules = Rules { ports: vec![port], ..Rules::every_port() };
    let Some(mut stage) = with(rules).filter(|_| is_root()) else { return };
    let workers =
        [stage.python(0, &gives_up(port, "before bind")), stage.python(1, &gives_up(port, "before bind"))];
    stage.ready(&workers);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 2)]);
}

/// Without the right to look at it (`CAP_SYS_PTRACE`, as in containers) such a program goes on as if nobody had looked.
#[test]
fn a_program_that_gives_up_its_user_under_a_primary_that_may_not_look_goes_on_alone() {
    const NAME: &str =
        "intercept::users::a_program_that_gives_up_its_user_under_a_primary_that_may_not_look_goes_on_alone";
    if is_marked("may not look") {
        let mut stage = cases::stage().unwrap();
        let port = free_port();
        let worker = stage.python(0, &gives_up(port, "before bind"));
        let left = stage.wait(worker, |seen| matches!(seen, Seen::Unshared { .. }));
        assert!(matches!(left, Seen::Unshared { why: Why::Protected, .. }), "{left:?}");
        let listens = std::iter::repeat_with(|| std::net::TcpStream::connect(local(port)).is_ok());
        let deadline = crate::deadline::Deadline::new();
        let _ = listens.inspect(|_| deadline.check(|| "it serves".to_owned())).find(|is_there| *is_there);
        assert_eq!(slot_of(&ask(local(port))), 0);
        assert!(
            stage.kept().is_empty()
                && stage.count(|_, seen| matches!(seen, Seen::Listening { kept: true, .. })) == 0
        );
        return;
    }
    if python().is_none() || works().is_none() || !is_root() {
        return;
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", "-sys_ptrace", "--inh-caps", "-all"])
        .arg(std::env::current_exe().unwrap());
    match command.args(["--exact", NAME, "--nocapture"]).env(MARK, "may not look").output() {
        Ok(output) => passed(&output),
        Err(error) => eprintln!("setpriv cannot be run ({error}): nothing to see"),
    }
}

/// Everything in this folder again, by somebody who has no privilege and no capability.
#[test]
fn all_of_it_needs_no_privilege() {
    if is_marked("nobody") || works().is_none() || !is_root() {
        return;
    }
    let folder = open_folder();
    let own = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
    let mut command = Command::new(&own);
    // What is compared with a file of the source, which nobody may not be able to read.
    command
        .args(["intercept::", "--skip", "golden", "--nocapture"])
        .env(MARK, "nobody")
        .current_dir(folder.path());
    command.env("PATH", path_of_all()).env("TMPDIR", folder.path()).env("HOME", folder.path());
    // What only root's own interpreter would find is skipped there; that enough is left is seen below.
    let output = command.env_remove("CI").uid(NOBODY).gid(NOBODY).output().unwrap();
    passed(&output);
}

/// Where every user's programs are: not in somebody's home.
fn path_of_all() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let is_open = |folder: &&str| {
        Path::new(folder)
            .ancestors()
            .all(|above| std::fs::metadata(above).is_ok_and(|found| found.permissions().mode() & 0o001 != 0))
    };
    path.split(':').filter(is_open).collect::<Vec<_>>().join(":")
}

fn passed(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let count = out.split(" passed").next().and_then(|text| text.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 1), "{out}{err}");
    err.lines().filter(|line| line.starts_with("skipped")).for_each(|line| eprintln!("{line}"));
    eprintln!("{} passed", count.unwrap_or(0));
}
