//! What can be asked of a listener, and what the kernel makes of it.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use clustr_net::{Addr, Kind, Listener, Options, sock_diag};
use rustix::fs::OFlags;
use rustix::io::Errno;

fn options(text: &str) -> Options {
    text.parse().unwrap()
}

fn bind(path: &Path, text: &str) -> Result<Listener, i32> {
    Listener::bind(&Addr::Unix(path.into()), options(text)).map_err(|error| error.errno().unwrap())
}

const IN_USE: i32 = Errno::ADDRINUSE.raw_os_error();

#[test]
fn a_socket_file_that_nobody_listens_on_is_replaced_if_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    let stale = fs::metadata(&path).unwrap().ino();
    assert_eq!(bind(&path, "").unwrap_err(), IN_USE);
    assert_eq!(fs::metadata(&path).unwrap().ino(), stale);
    let listener = bind(&path, "replace-stale").unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    drop(listener);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_live_socket_and_anything_that_is_none_are_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let [live, full, datagrams, file, link, gone] =
        ["live", "full", "datagrams", "file", "link", "gone"].map(|name| folder.path().join(name));
    let _live = UnixListener::bind(&live).unwrap();
    let _full = bind(&full, "backlog=0").unwrap();
    let _waits = UnixStream::connect(&full).unwrap();
    let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
    fs::write(&file, "precious").unwrap();
    drop(UnixListener::bind(&gone).unwrap());
    std::os::unix::fs::symlink(&gone, &link).unwrap();
    for path in [&live, &full, &datagrams, &file, &link] {
        let before = fs::symlink_metadata(path).unwrap().ino();
        assert_eq!(bind(path, "replace-stale").unwrap_err(), IN_USE, "{path:?}");
        assert_eq!(fs::symlink_metadata(path).unwrap().ino(), before, "{path:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
}

#[test]
fn mode_and_owner_are_exactly_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let _listener = bind(&path, &format!("mode=0640,owner={user},group={group}")).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.permissions().mode() & 0o777, file.uid(), file.gid()), (0o640, user, group));
}

#[test]
fn a_deferred_connection_comes_up_with_its_first_word() {
    let listener =
        Listener::bind(&"127.0.0.1:0".parse().unwrap(), options("defer-accept=30,fastopen=16")).unwrap();
    let port = listener.port().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let waiting = || sock_diag::listening(Kind::Stream, port).unwrap()[0].waiting;
    assert_eq!(waiting(), 0);
    client.write_all(b"hello").unwrap();
    let deadline = crate::deadline::Deadline::new();
    while waiting() == 0 {
        deadline.check(|| "the connection has not come up".into());
    }
}

#[test]
fn a_listener_blocks_only_if_that_was_asked_for() {
    let blocks = |text: &str| {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), options(text)).unwrap();
        !rustix::fs::fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK)
    };
    assert_eq!((blocks("blocking"), blocks("")), (true, false));
}
