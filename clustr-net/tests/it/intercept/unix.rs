//! Unix sockets: one queue for all workers, whose name stays whatever programs do to it.

use std::os::unix::net::UnixStream;
use std::path::Path;

use clustr_net::intercept::{Rules, Sockets, Way};

use super::stage::{PLAN, REPLACE, Stage, python, works};

fn stage(way: Way) -> Option<Stage> {
    python()?;
    works()?;
    Some(Stage::new(way, Rules::every_port(), Sockets::per_worker(PLAN)))
}

fn script(path: &Path, before: &str) -> String {
    format!(
        "import os, socket
path = {path:?}
{before}
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen(9)
while True:
    c, _ = s.accept()
    c.sendall(b'%s' % os.environ['CLUSTR_SLOT'].encode())
    c.close()
"
    )
}

const UNLINK: &str = "
try: os.unlink(path)
except FileNotFoundError: pass
";

fn ask(path: &Path) -> String {
    use std::io::Read;
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(crate::deadline::PATIENCE)).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

fn shared_and_kept(way: Way, before: &str) {
    let Some(mut stage) = stage(way) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let workers: Vec<u64> = (0..3).map(|slot| stage.python(slot, &script(&path, before))).collect();
    stage.ready(&workers);
    assert_eq!(stage.kept(), [(format!("unix:{}", path.display()), 1)]);
    stage.kill(workers[0]);
    stage.kill(workers[1]);
    assert_eq!(ask(&path), "2");
    let successor = stage.python(0, &script(&path, before));
    stage.ready(&[successor]);
    stage.kill(workers[2]);
    assert_eq!(ask(&path), "0");
    drop(stage);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_path_is_shared_by_all_that_bind_it() {
    shared_and_kept(Way::Adopt, "");
}

#[test]
fn a_program_that_removes_the_path_first_finds_it_again() {
    shared_and_kept(Way::Adopt, UNLINK);
}

#[test]
fn a_path_is_shared_where_sockets_cannot_be_taken() {
    shared_and_kept(REPLACE, UNLINK);
}

#[test]
fn a_path_is_the_programs_own_in_its_folder_with_its_mask() {
    use std::os::unix::fs::PermissionsExt;
    let Some(mut stage) = stage(Way::Adopt) else { return };
    let folder = tempfile::tempdir().unwrap();
    let before = format!("os.chdir({:?}); os.umask(0o077)", folder.path());
    let worker = stage.python(0, &script(Path::new("here.sock"), &before));
    stage.ready(&[worker]);
    let path = folder.path().join("here.sock");
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let second = stage.python(1, &script(Path::new("here.sock"), &before));
    stage.ready(&[second]);
    assert_eq!(stage.kept().len(), 1);
}

#[test]
fn a_name_without_a_file_is_shared_too() {
    let Some(mut stage) = stage(Way::Adopt) else { return };
    let name = format!("\\0clustr-test-{}", std::process::id());
    let lines = script(Path::new("x"), &format!("path = '{name}'"));
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    assert_eq!(stage.kept().len(), 1);
}

#[test]
fn whoever_binds_first_and_ends_makes_nobody_wait() {
    let Some(mut stage) = stage(Way::Adopt) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let bind_only = format!(
        "import os, socket, time
s = socket.socket(socket.AF_UNIX)
s.bind({path:?})
os.mkfifo({:?})
time.sleep(600)
",
        folder.path().join("bound")
    );
    let first = stage.python(0, &bind_only);
    let deadline = crate::deadline::Deadline::new();
    while !folder.path().join("bound").exists() {
        deadline.check(|| "the first one binds".to_owned());
        assert!(stage.kept().is_empty());
    }
    let second = stage.python(1, &script(&path, UNLINK));
    stage.kill(first);
    stage.ready(&[second]);
    assert_eq!(ask(&path), "1");
}
