//! Binding, lending and adopting sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use clustr_net::{Addr, Host, Kind, Listener, Options};
use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType};

use crate::support::{alone, open_descriptors};

fn bind(text: &str) -> Listener {
    try_bind(text).unwrap()
}

fn try_bind(text: &str) -> Result<Listener, i32> {
    Listener::bind(&text.parse().unwrap(), Options::default()).map_err(|error| error.errno().unwrap())
}

fn try_bind_path(path: &Path, options: Options) -> Result<Listener, i32> {
    Listener::bind(&Addr::Unix(path.into()), options).map_err(|error| error.errno().unwrap())
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// The other process's part: accepts one client and answers.
fn serve_one(fd: OwnedFd) {
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(false).unwrap();
    listener.accept().unwrap().0.write_all(b"hello").unwrap();
}

fn hear(mut client: impl Read) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn clients_of_both_families_wait_in_the_queue_until_somebody_accepts() {
    let listener = bind(":0");
    let port = listener.port().unwrap();
    let hosts = if has_ipv6() { vec!["127.0.0.1", "::1"] } else { vec!["127.0.0.1"] };
    for host in hosts {
        let client = TcpStream::connect((host, port)).unwrap();
        serve_one(listener.lend().unwrap());
        assert_eq!(hear(client), "hello", "{host}");
    }
}

#[test]
fn a_listener_is_nonblocking_close_on_exec_and_knows_its_address() {
    let listener = bind("127.0.0.1:0");
    assert!(rustix::fs::fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));
    assert_eq!(rustix::io::fcntl_getfd(&listener).unwrap(), FdFlags::CLOEXEC);
    assert_eq!(rustix::io::fcntl_getfd(listener.lend().unwrap()).unwrap(), FdFlags::CLOEXEC);
    assert_eq!(listener.local_addr().to_string(), format!("127.0.0.1:{}", listener.port().unwrap()));
    assert_eq!(listener.kind(), Kind::Stream);
}

#[test]
fn ipv4_only_and_ipv6_only_leave_the_other_family_alone() {
    if !has_ipv6() {
        return;
    }
    let options = Options { v6_only: true, ..Options::default() };
    let six = Listener::bind(&"[::]:0".parse().unwrap(), options).unwrap();
    let port = six.port().unwrap();
    let _four = bind(&format!("0.0.0.0:{port}"));
    assert!(TcpStream::connect(("::1", port)).is_ok() && TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
fn a_port_in_use_is_refused_with_the_kernels_number() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = taken.local_addr().unwrap().to_string();
    assert_eq!(try_bind(&text).unwrap_err(), Errno::ADDRINUSE.raw_os_error());
    let port = taken.local_addr().unwrap().port();
    assert_eq!(try_bind(&format!(":{port}")).unwrap_err(), Errno::ADDRINUSE.raw_os_error());
    drop(taken);
    bind(&text);
}

#[test]
fn an_error_names_step_and_address_and_keeps_its_source() {
    let error = Listener::bind(&"203.0.113.1:80".parse().unwrap(), Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "bind 203.0.113.1:80");
    assert_eq!(error.errno(), Some(Errno::ADDRNOTAVAIL.raw_os_error()));
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(try_bind("fd:7").unwrap_err(), Errno::INVAL.raw_os_error());
}

#[test]
fn a_name_is_resolved_and_an_unknown_interface_is_an_error() {
    let listener = bind("localhost:0");
    assert!(matches!(listener.local_addr(), Addr::Tcp { host: Host::Ip(ip), .. } if ip.is_loopback()));
    assert!(try_bind("[fe80::1%nosuch0]:0").is_err());
}

#[test]
fn a_socket_file_is_removed_at_the_end_unless_it_is_somebody_elses_by_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let listener = try_bind_path(&path, Options::default()).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(try_bind_path(&path, Options::default()).unwrap_err(), Errno::ADDRINUSE.raw_os_error());
    drop(listener);
    assert!(!path.exists());

    let listener = try_bind_path(&path, Options::default()).unwrap();
    fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists(), "the file belongs to another listener now");
}

#[test]
fn a_path_beyond_the_kernels_limit_is_reached_by_a_detour() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    let path = deep.join("a.sock");
    let options = Options { mode_added: 0o666, ..Options::default() };
    let listener = try_bind_path(&path, options).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o666, 0o666);
    std::os::unix::fs::symlink(&path, folder.path().join("short")).unwrap();
    UnixStream::connect(folder.path().join("short")).unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn permission_bits_are_added_and_none_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let before = {
        let _plain = try_bind_path(&path, Options::default()).unwrap();
        fs::metadata(&path).unwrap().permissions().mode() & 0o777
    };
    let _open = try_bind_path(&path, Options { mode_added: 0o444, ..Options::default() }).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, before | 0o444);
}

#[test]
fn an_abstract_name_has_no_file() {
    let name = format!("unix:@clustr-net-test-{}", std::process::id());
    let listener = bind(&name);
    assert_eq!(try_bind(&name).unwrap_err(), Errno::ADDRINUSE.raw_os_error());
    assert_eq!(Listener::adopt(listener.lend().unwrap()).unwrap().local_addr().to_string(), name);
    drop(listener);
    bind(&name);
}

#[test]
fn datagrams_arrive_and_two_may_share_a_port_only_if_both_say_so() {
    let listener = bind("udp:127.0.0.1:0");
    let addr = listener.local_addr().clone();
    let socket = UdpSocket::from(listener.lend().unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hi", socket.local_addr().unwrap()).unwrap();
    socket.set_nonblocking(false).unwrap();
    assert_eq!(socket.recv_from(&mut [0; 8]).unwrap().0, 2);
    assert_eq!((listener.kind(), addr.to_string().starts_with("udp:127.0.0.1:")), (Kind::Datagram, true));

    assert_eq!(try_bind(&addr.to_string()).unwrap_err(), Errno::ADDRINUSE.raw_os_error());
    for options in [
        Options { reuse_addr: true, ..Options::default() },
        Options { reuse_port: true, ..Options::default() },
    ] {
        let first = Listener::bind(&"udp:127.0.0.1:0".parse().unwrap(), options).unwrap();
        Listener::bind(first.local_addr(), options).unwrap();
    }
}

#[test]
fn a_lent_descriptor_shares_the_queue_and_outlives_the_listener() {
    let listener = bind("127.0.0.1:0");
    let lent = listener.lend().unwrap();
    let client = TcpStream::connect(("127.0.0.1", listener.port().unwrap())).unwrap();
    drop(listener);
    serve_one(lent);
    assert_eq!(hear(client), "hello");
}

#[test]
fn adopting_makes_a_bound_socket_listen_and_refuses_what_cannot() {
    let stream = |family| rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    let bound = stream(AddressFamily::INET);
    rustix::net::bind(&bound, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = Listener::adopt(bound).unwrap();
    let client = TcpStream::connect(("127.0.0.1", listener.port().unwrap())).unwrap();
    assert!(rustix::fs::fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));

    let errno = |fd: OwnedFd| Listener::adopt(fd).unwrap_err().raw_os_error();
    assert_eq!(errno(fs::File::open("/dev/null").unwrap().into()), Some(Errno::NOTSOCK.raw_os_error()));
    assert_eq!(errno(client.into()), Some(Errno::INVAL.raw_os_error()));
    assert_eq!(errno(stream(AddressFamily::INET)), Some(Errno::INVAL.raw_os_error()));
    assert_eq!(errno(stream(AddressFamily::UNIX)), Some(Errno::INVAL.raw_os_error()));
}

#[test]
fn nothing_leaks_whether_binding_works_or_not() {
    if !alone("listener::nothing_leaks_whether_binding_works_or_not") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = open_descriptors();
    let deep = folder.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    for _ in 0..50 {
        let held = [bind(":0"), bind("udp:0"), bind("unix:@clustr-net-leak")];
        let path = try_bind_path(&deep.join("a.sock"), Options::default()).unwrap();
        assert!(try_bind_path(&deep.join("a.sock"), Options::default()).is_err());
        assert!(try_bind("unix:@clustr-net-leak").is_err());
        assert!(try_bind("203.0.113.1:1").is_err());
        assert!(Listener::adopt(held[0].as_fd().try_clone_to_owned().unwrap()).is_ok());
        assert!(Listener::adopt(fs::File::open("/dev/null").unwrap().into()).is_err());
        drop(path);
    }
    assert_eq!(open_descriptors(), before);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}

#[test]
fn a_unix_socket_that_was_shut_down_is_seen_to_be_deaf_and_bound_anew() {
    for how in [rustix::net::Shutdown::Read, rustix::net::Shutdown::Both] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let options = Options { mode: Some(0o640), ..Options::default() };
        let first = Listener::bind(&Addr::Unix(path.clone()), options).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        assert!(first.is_listening().unwrap(), "somebody who waits is no end");
        rustix::net::shutdown(&first, how).unwrap();
        assert!(!first.is_listening().unwrap() && UnixStream::connect(&path).is_err());
        assert_eq!(first.listen_again().unwrap_err().raw_os_error(), Some(Errno::OPNOTSUPP.raw_os_error()));
        let second = first.bound_anew().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        drop((first, waiting));
        assert!(second.is_listening().unwrap() && UnixStream::connect(&path).is_ok());
    }
}

#[test]
fn no_socket_is_bound_anew_over_anothers_file_nor_at_an_abstract_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = Listener::bind(&Addr::Unix(path.clone()), Options::default()).unwrap();
    std::fs::remove_file(&path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let refused = |listener: &Listener| listener.bound_anew().unwrap_err().errno();
    assert_eq!(
        refused(&listener),
        Some(Errno::ADDRINUSE.raw_os_error()),
        "a stale file of somebody else stays"
    );
    assert!(path.exists());
    let nameless = bind(&format!("unix:@clustr-anew-{}", std::process::id()));
    assert_eq!(refused(&nameless), Some(Errno::OPNOTSUPP.raw_os_error()));
}
