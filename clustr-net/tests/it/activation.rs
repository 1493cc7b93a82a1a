//! Listeners that a process is started with, through real exec and fork.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use clustr_net::{Listener, activation};

const MARK: &str = "CLUSTR_TEST_ACTIVATION";

/// Starts this test again with a listener as descriptors 3 and 4, and the variables of the caller's choice.
fn start(test: &str, variables: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // `exec` keeps the shell's pid, so that it can say whom the listeners are for.
    let script = format!("exec 3<&0 4<&0 0</dev/null; {variables} exec \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, port.to_string())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn listeners_are_taken_once_by_name_or_number() {
    let Ok(port) = std::env::var(MARK) else {
        let variables = "export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=http:admin;";
        return start("activation::listeners_are_taken_once_by_name_or_number", variables);
    };
    let mut taken = activation::take().unwrap();
    let admin = activation::by_name(&mut taken, "admin").unwrap();
    assert_eq!(admin.number, 4);
    assert!(activation::by_name(&mut taken, "admin").is_none());
    let http = activation::by_number(&mut taken, 3).unwrap();
    assert_eq!(Listener::adopt(http.fd).unwrap().port(), port.parse().ok());
    assert!(taken.is_empty());
    assert!(activation::take().is_err(), "they have an owner");
}

#[test]
fn listeners_for_another_process_are_left_alone() {
    if std::env::var_os(MARK).is_none() {
        let variables = "export LISTEN_FDS=2 LISTEN_PID=1;";
        return start("activation::listeners_for_another_process_are_left_alone", variables);
    }
    assert!(activation::take().unwrap().is_empty());
    assert!(clustr_net::inherited::claim(3).is_ok(), "still there");
}

#[test]
fn a_listener_that_is_not_there_is_named() {
    if std::env::var_os(MARK).is_none() {
        let variables = "export LISTEN_FDS=900 LISTEN_PID=$$;";
        return start("activation::a_listener_that_is_not_there_is_named", variables);
    }
    let error = activation::take().unwrap_err();
    assert!(error.to_string().contains("of LISTEN_FDS is not there"), "{error}");
}
