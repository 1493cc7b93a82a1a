//! The descriptors that a process was started with.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use clustr_net::{Listener, inherited};

const MARK: &str = "CLUSTR_TEST_INHERITED";

/// A shell puts the listener where the test expects it: that needs no code between fork and exec.
fn start_with_listener(test: &str, listener: TcpListener) -> std::process::Output {
    Command::new("sh")
        .args(["-c", "exec 7<&0 8<&0 0</dev/null; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, listener.local_addr().unwrap().port().to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .output()
        .unwrap()
}

#[test]
fn what_came_through_exec_is_taken_once_and_nothing_else() {
    let Ok(port) = std::env::var(MARK) else {
        let test = "inherited::what_came_through_exec_is_taken_once_and_nothing_else";
        let output = start_with_listener(test, TcpListener::bind("127.0.0.1:0").unwrap());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    };
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let own_number = u32::try_from(own.as_raw_fd()).unwrap();
    let error = inherited::claim(own_number).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "our own descriptor is not for the taking");
    let eight = inherited::claim(8).unwrap();
    assert!(inherited::claim(8).is_err(), "a second owner");
    let mut taken = inherited::take(inherited::FIRST..).unwrap();
    taken.retain(|(number, _)| (5..10).contains(number));
    assert_eq!(taken.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [7]);
    assert!(inherited::take(inherited::FIRST..).unwrap().is_empty());
    for fd in [eight, taken.remove(0).1] {
        let listener = Listener::adopt(fd).unwrap();
        assert_eq!(listener.port(), Some(port.parse().unwrap()));
    }
}

#[test]
fn what_is_not_open_is_not_found() {
    assert_eq!(inherited::claim(1_000_000).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
