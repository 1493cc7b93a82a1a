//! Connections handed over: in order, within credits, acknowledged before they are read, and taken back.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use clustr_net::handoff::codec::{Report, Word, encode};
use clustr_net::handoff::{Family, Handover, Progress, QUEUE_MESSAGES_MAX, Said, Sender, WINDOW};
use clustr_net::worker::{Connection, Heard, Worker};
use clustr_net::{FdChannel, scm};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::deadline::{Deadline, PATIENCE};
use crate::support::{alone, leave_room_for, open_descriptors};

/// A primary with one listener, and clients whose connections it accepts.
struct Site {
    listener: TcpListener,
    clients: Vec<TcpStream>,
}

impl Site {
    fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), clients: Vec::new() }
    }

    /// A client connects, says its number, and is accepted.
    fn accept(&mut self) -> Handover {
        let number = self.clients.len();
        self.accept_saying(format!("{number}\n").as_bytes())
    }

    fn accept_saying(&mut self, words: &[u8]) -> Handover {
        let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(words).unwrap();
        self.clients.push(client);
        let (connection, _) = self.listener.accept().unwrap();
        connection.set_nonblocking(true).unwrap();
        Handover { fd: connection.into(), listener: 0 }
    }

    /// What each client was answered by the time its connection was closed.
    fn answers(&mut self) -> Vec<String> {
        let answer = |client: &mut TcpStream| {
            let mut text = String::new();
            client.read_to_string(&mut text).map(|_| text).unwrap()
        };
        self.clients.iter_mut().map(answer).collect()
    }
}

fn pair() -> (Sender, Worker) {
    let (ours, theirs) = FdChannel::pair().unwrap();
    let sender = Sender::new(ours, &[("http", Family::Tcp)]).unwrap();
    let mut pair = (sender, Worker::new(Some(theirs), Vec::new()).unwrap());
    assert!(hear(&mut pair.0).is_empty());
    pair
}

fn hear(sender: &mut Sender) -> Vec<Said> {
    let mut said = Vec::new();
    while sender.receive(8, &mut said).unwrap() == Progress::More {}
    said
}

fn next(worker: &mut Worker) -> Connection {
    match worker.try_next().unwrap() {
        Some(Heard::Connection(connection)) => connection,
        other => panic!("{other:?}"),
    }
}

/// Reads a client's number and answers it.
fn serve(connection: &mut Connection) -> u32 {
    connection.set_nonblocking(false).unwrap();
    let mut text = [0; 16];
    let count = connection.read(&mut text).unwrap();
    connection.write_all(&text[..count]).unwrap();
    std::str::from_utf8(&text[..count]).unwrap().trim().parse().unwrap()
}

fn returned(said: Vec<Said>) -> Vec<Handover> {
    let back = said.into_iter();
    back.filter_map(|said| if let Said::Returned(handover) = said { Some(handover) } else { None }).collect()
}

#[test]
fn connections_arrive_in_order_and_are_acknowledged_one_by_one_as_they_are_taken() {
    let (mut site, (mut sender, mut worker)) = (Site::new(), pair());
    for _ in 0..5 {
        sender.offer(site.accept()).unwrap();
    }
    sender.flush().unwrap();
    let mut open = Vec::new();
    for number in 0..5 {
        assert_eq!(sender.unacked(), 5 - number);
        let mut connection = next(&mut worker);
        hear(&mut sender);
        assert_eq!((sender.unacked(), sender.open()), (4 - number, number as u64 + 1), "before it is read");
        assert_eq!(connection.listener(), "http");
        assert_eq!(serve(&mut connection) as usize, number);
        open.push(connection);
    }
    assert!(worker.try_next().unwrap().is_none());
    drop(open);
    hear(&mut sender);
    assert_eq!((sender.open(), sender.taken()), (0, 5));
    assert_eq!(site.answers(), ["0\n", "1\n", "2\n", "3\n", "4\n"], "and each client saw the end");
}

#[test]
fn a_worker_is_given_no_more_than_it_granted() {
    let (mut site, (mut sender, mut worker)) = (Site::new(), pair());
    assert_eq!(sender.credits(), WINDOW as usize);
    for _ in 0..WINDOW {
        sender.offer(site.accept()).unwrap();
    }
    let refused = sender.offer(site.accept()).unwrap_err();
    sender.flush().unwrap();
    let half = WINDOW as usize / 2;
    let mut open: Vec<_> = (1..half).map(|_| next(&mut worker)).collect();
    hear(&mut sender);
    assert_eq!(sender.credits(), 0, "a busy worker grants by the half window");
    open.push(next(&mut worker));
    hear(&mut sender);
    assert_eq!((sender.credits(), sender.open()), (half, half as u64), "what is taken makes room");
    sender.offer(refused).unwrap();
    drop(open);
    let _last = next(&mut worker);
    hear(&mut sender);
    assert_eq!(sender.open(), 1, "a close is told with what comes next");
}

#[test]
fn a_worker_that_has_enough_open_grants_again_when_one_is_closed_by_another_thread() {
    let (mut site, (mut sender, mut worker)) = (Site::new(), pair());
    worker.set_open_max(WINDOW + 1);
    let mut open: Vec<_> = (0..=WINDOW)
        .map(|_| {
            sender.offer(site.accept()).unwrap();
            sender.flush().unwrap();
            let connection = next(&mut worker);
            hear(&mut sender);
            connection
        })
        .collect();
    // What was granted before it was full stays granted.
    let granted = sender.credits();
    assert!(worker.try_next().unwrap().is_none());
    for _ in 0..2 {
        let connection = open.pop().unwrap();
        std::thread::spawn(move || drop(connection)).join().unwrap();
    }
    hear(&mut sender);
    assert_eq!(sender.open(), u64::from(WINDOW) - 1);
    assert!(sender.credits() >= granted);
}

#[test]
fn countless_short_messages_are_not_kept() {
    let (mut sender, _worker) = pair();
    let taken = std::iter::repeat_with(|| sender.send(b"")).take_while(Result::is_ok).count();
    assert_eq!(taken, QUEUE_MESSAGES_MAX);
}

#[test]
fn messages_go_both_ways_and_queues_are_bounded() {
    let (mut sender, mut worker) = pair();
    worker.ready().unwrap();
    worker.send(b"from the worker").unwrap();
    let said = hear(&mut sender);
    assert!(matches!(&said[..], [Said::Ready, Said::Message(bytes)] if bytes == b"from the worker"));
    sender.send(b"to the worker").unwrap();
    sender.flush().unwrap();
    assert!(matches!(worker.try_next().unwrap(), Some(Heard::Message(bytes)) if bytes == b"to the worker"));

    let long = vec![7; 1 + (32 << 10)];
    assert!(matches!(sender.send(&long), Err(clustr_net::handoff::SendError::TooLong)));
    assert_eq!(worker.send(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut queued = 0;
    while sender.send(&long[1..]).is_ok() {
        sender.flush().unwrap();
        queued += 1;
    }
    assert!(sender.wants_write() && (32..64).contains(&queued), "{queued}");
    for _ in 0..queued {
        assert!(matches!(worker.try_next().unwrap(), Some(Heard::Message(_))));
        sender.flush().unwrap();
    }
    assert!(!sender.wants_write() && worker.try_next().unwrap().is_none());
}

#[test]
fn a_drained_worker_gets_nothing_more_serves_what_it_has_and_its_end_means_drained() {
    let (mut site, (mut sender, mut worker)) = (Site::new(), pair());
    sender.offer(site.accept()).unwrap();
    sender.flush().unwrap();
    sender.offer(site.accept()).unwrap();
    assert_eq!(sender.drain().count(), 1, "what was not sent is for another worker");
    sender.flush().unwrap();
    assert_eq!(sender.credits(), 0);
    let open: Vec<_> = worker.connections().map(Result::unwrap).collect();
    assert_eq!(open.len(), 1);
    drop(worker);
    let said = hear(&mut sender);
    assert!(matches!(said[..], [Said::Leaving]) && sender.open() == 1, "{said:?}");
    drop(open);
    assert_eq!((sender.receive(8, &mut Vec::new()).unwrap(), sender.open()), (Progress::Closed, 0));
}

#[test]
fn a_worker_that_leaves_gives_back_what_it_did_not_take_and_keeps_none_open() {
    let (mut site, (mut sender, mut worker)) = (Site::new(), pair());
    for batch in [3, 2] {
        for _ in 0..batch {
            sender.offer(site.accept()).unwrap();
        }
        sender.flush().unwrap();
    }
    // One is being served, two wait in the worker, two in its channel.
    let served = next(&mut worker);
    drop(worker);
    let back = returned(hear(&mut sender));
    assert_eq!((back.len(), sender.open(), sender.unacked(), sender.credits()), (4, 1, 0, 0));
    assert!(sender.offer(site.accept()).is_err());
    drop(back);
    for client in &mut site.clients[1..5] {
        // Unread bytes make it a reset; that it ends is what matters.
        assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)));
    }
    drop(served);
}

#[test]
fn what_contradicts_the_ledger_is_an_error_and_everything_comes_back() {
    let lies = [
        Word::Report(Report { acked: 4, granted: 9, closed: 0 }),
        Word::Report(Report { acked: 1, granted: 9, closed: 2 }),
        Word::Refused { first: 3, count: 2 },
        Word::Refused { first: 0, count: 1 },
        Word::Refused { first: u64::MAX, count: 1 },
        Word::Drain,
    ];
    for lie in lies {
        let (ours, theirs) = FdChannel::pair().unwrap();
        let (mut site, mut sender) = (Site::new(), Sender::new(ours, &[("http", Family::Tcp)]).unwrap());
        let theirs = FdChannel::new(theirs).unwrap();
        let say = |word: &Word<'_>| {
            let mut bytes = Vec::new();
            encode(word, &mut bytes);
            theirs.send(&bytes, &[]).unwrap();
        };
        say(&Word::Report(Report { acked: 0, granted: u64::MAX, closed: 0 }));
        hear(&mut sender);
        assert_eq!(sender.credits(), 1024, "bounded, whatever is granted");
        for _ in 0..3 {
            sender.offer(site.accept()).unwrap();
        }
        sender.flush().unwrap();
        say(&lie);
        let mut said = Vec::new();
        assert_eq!(sender.receive(8, &mut said).unwrap_err().kind(), ErrorKind::InvalidData, "{lie:?}");
        let (taken, back) = (sender.taken(), sender.take_back().count() + returned(said).len());
        assert_eq!(back + usize::try_from(taken).unwrap(), 3, "{lie:?}");
    }
}

#[test]
fn hostile_descriptors_are_closed() {
    if !alone("handoff::hostile_descriptors_are_closed") {
        return;
    }
    let (ours, theirs) = FdChannel::pair().unwrap();
    let mut sender = Sender::new(ours, &[]).unwrap();
    let theirs = FdChannel::new(theirs).unwrap();
    let before = open_descriptors();
    for _ in 0..20 {
        theirs.send(b"\x13", &[theirs.as_fd(); 20]).unwrap();
        assert!(matches!(hear(&mut sender)[..], [Said::Ready]));
        scm::send(&theirs, b"\xc5\x01\x01\x00\x13", &[theirs.as_fd(); 2]).unwrap();
        assert!(sender.receive(8, &mut Vec::new()).is_err());
        assert_eq!(open_descriptors(), before);
    }
}

const WORKER: &str = "CLUSTR_TEST_WORKER";

/// Starts this test again as a worker; its channel is its standard input.
fn start(test: &str, part: &str) -> (Sender, Child) {
    let (ours, theirs) = FdChannel::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(WORKER, part)
        .env("CLUSTR_CHANNEL_FD", "0")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut sender = Sender::new(ours, &[("http", Family::Tcp)]).unwrap();
    wait(&mut sender, &mut Vec::new(), |sender| sender.credits() > 0);
    (sender, child)
}

/// Hears a worker until something is so.
fn wait(sender: &mut Sender, said: &mut Vec<Said>, so: impl Fn(&Sender) -> bool) {
    let deadline = Deadline::new();
    while !so(sender) {
        deadline.check(|| format!("{sender:?} said {said:?}"));
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut [PollFd::new(&*sender, PollFlags::IN)], Some(&second)).unwrap();
        if sender.receive(8, said).unwrap() == Progress::Closed {
            assert!(so(sender), "the worker ended: {sender:?}");
        }
        sender.flush().unwrap();
    }
}

#[test]
fn twelve_of_twelve_are_served_by_another_worker_after_a_busy_one_is_killed() {
    let test = "handoff::twelve_of_twelve_are_served_by_another_worker_after_a_busy_one_is_killed";
    if let Some(part) = std::env::var_os(WORKER) {
        let mut worker = Worker::from_env().unwrap().unwrap();
        worker.ready().unwrap();
        if part == "busy" {
            // It hangs with the first, and has twelve more in its hands that it never takes.
            let _first = worker.connections().next().unwrap().unwrap();
            std::thread::park();
        }
        for connection in worker.connections() {
            serve(&mut connection.unwrap());
        }
        return;
    }
    let mut site = Site::new();
    let (mut busy, mut child) = start(test, "busy");
    busy.offer(site.accept()).unwrap();
    busy.flush().unwrap();
    wait(&mut busy, &mut Vec::new(), |busy| busy.open() == 1);
    for _ in 0..12 {
        busy.offer(site.accept()).unwrap();
        busy.flush().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(busy.receive(64, &mut Vec::new()).unwrap(), Progress::Closed);
    let back: Vec<_> = busy.take_back().collect();
    assert_eq!(back.len(), 12);

    let (mut other, mut child) = start(test, "serves");
    back.into_iter().for_each(|handover| other.offer(handover).unwrap());
    other.flush().unwrap();
    wait(&mut other, &mut Vec::new(), |other| other.taken() == 12 && other.open() == 0);
    site.clients.remove(0);
    let numbers: Vec<_> = (1..=12).map(|number| format!("{number}\n")).collect();
    assert_eq!(site.answers(), numbers);
    drop(other);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_worker_without_descriptors_gives_back_what_it_cannot_hold_and_comes_back() {
    let test = "handoff::a_worker_without_descriptors_gives_back_what_it_cannot_hold_and_comes_back";
    if std::env::var_os(WORKER).is_some() {
        let mut worker = Worker::from_env().unwrap().unwrap();
        let mut filler = Some(leave_room_for(3));
        loop {
            match worker.wait(None).unwrap() {
                Some(Heard::Connection(mut connection)) => drop(serve(&mut connection)),
                Some(Heard::Message(_)) => drop(filler.take()),
                Some(Heard::Drain | Heard::Closed) => return,
                None => {}
            }
        }
    }
    let (mut site, mut said) = (Site::new(), Vec::new());
    let (mut sender, mut child) = start(test, "poor");
    for _ in 0..8 {
        sender.offer(site.accept()).unwrap();
    }
    sender.flush().unwrap();
    wait(&mut sender, &mut said, |sender| sender.unacked() == 0);
    assert!(matches!(said.last(), Some(Said::Exhausted)), "{said:?}");
    let mut back = returned(said);
    assert_eq!((back.len(), sender.taken(), sender.credits()), (8, 0, 0), "none is lost, and it rests");
    // A probe finds out that one at a time is possible, and what it served is room for more.
    sender.probe();
    assert_eq!(sender.credits(), 1);
    sender.offer(back.remove(0)).unwrap();
    assert_eq!(sender.credits(), 0, "one at a time");
    sender.flush().unwrap();
    wait(&mut sender, &mut Vec::new(), |sender| sender.taken() == 1 && sender.open() == 0);
    sender.send(b"be rich").unwrap();
    sender.flush().unwrap();
    wait(&mut sender, &mut Vec::new(), |sender| sender.credits() > 8);
    for handover in back {
        sender.offer(handover).unwrap();
        sender.flush().unwrap();
        let taken = sender.taken();
        wait(&mut sender, &mut Vec::new(), |sender| sender.taken() == taken + 1);
    }
    drop(sender);
    assert!(child.wait().unwrap().success());
    assert_eq!(site.answers().len(), 8);
}

#[test]
fn nothing_leaks() {
    if !alone("handoff::nothing_leaks") {
        return;
    }
    let mut site = Site::new();
    let before = open_descriptors();
    for round in 0..20 {
        let (mut sender, mut worker) = pair();
        for _ in 0..8 {
            sender.offer(site.accept()).unwrap();
        }
        sender.flush().unwrap();
        let taken: Vec<_> = (0..round % 8).map(|_| next(&mut worker)).collect();
        if round % 2 == 0 {
            drop(worker);
            returned(hear(&mut sender)).len();
        }
        drop((taken, sender));
        site.clients.clear();
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_worker_serves_its_own_listeners_and_the_channel_in_one_sequence() {
    let (mut site, listener) = (Site::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let addr = listener.local_addr().unwrap();
    let (ours, theirs) = FdChannel::pair().unwrap();
    let mut sender = Sender::new(ours, &[("http", Family::Tcp)]).unwrap();
    let own = clustr_net::Listener::adopt(OwnedFd::from(listener)).unwrap();
    let mut worker = Worker::new(Some(theirs), vec![("own".into(), own)]).unwrap();
    hear(&mut sender);
    assert_eq!(sender.credits(), 0, "who has listeners may never ask for the sequence");
    assert!(worker.try_next().unwrap().is_none());
    hear(&mut sender);
    sender.offer(site.accept()).unwrap();
    sender.flush().unwrap();
    let _client = TcpStream::connect(addr).unwrap();
    let mut names: Vec<_> =
        worker.connections().take(2).map(|connection| connection.unwrap().listener().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["http", "own"]);
    let _late = TcpStream::connect(addr).unwrap();
    assert!(sender.drain().next().is_none());
    sender.flush().unwrap();
    assert!(
        matches!(worker.wait(None).unwrap(), Some(Heard::Drain)),
        "draining is heard before the late one"
    );
    assert!(worker.try_next().unwrap().is_none(), "which is left to others");
    assert!(worker.take_listener("own").is_some() && worker.listeners().next().is_none());
}

/// The program of an example, which `cargo test` builds beside the tests.
fn example(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join(name);
    if !path.exists() {
        eprintln!("skipped: {name} not built");
        assert!(std::env::var_os("CI").is_none());
        return None;
    }
    Some(path)
}

#[test]
fn the_examples_answer_what_they_are_handed_and_end_when_they_are_drained() {
    for name in ["worker_threads", "worker_mio", "worker_tokio"] {
        let Some(program) = example(name) else { continue };
        let (ours, theirs) = FdChannel::pair().unwrap();
        let mut command = Command::new(program);
        let mut child = command.env("CLUSTR_CHANNEL_FD", "0").stdin(Stdio::from(theirs)).spawn().unwrap();
        drop(command);
        let mut sender = Sender::new(ours, &[("http", Family::Tcp)]).unwrap();
        let mut said = Vec::new();
        wait(&mut sender, &mut said, |sender| sender.credits() > 2);
        let mut site = Site::new();
        for _ in 0..3 {
            let request = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
            sender.offer(site.accept_saying(request)).unwrap();
        }
        sender.flush().unwrap();
        wait(&mut sender, &mut said, |sender| sender.taken() == 3 && sender.open() == 0);
        assert!(matches!(said[..], [Said::Ready]), "{name}: {said:?}");
        for answer in site.answers() {
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello\n"),
                "{name}: {answer}"
            );
        }
        assert_eq!(sender.drain().count(), 0);
        sender.flush().unwrap();
        assert!(child.wait().unwrap().success(), "{name}");
    }
}

#[test]
fn a_probe_is_served_like_any_other_and_never_comes_back() {
    let ((mut sender, mut worker), mut site) = (pair(), Site::new());
    sender.offer_probe(site.accept()).unwrap();
    sender.offer(site.accept()).unwrap();
    sender.flush().unwrap();
    serve(&mut next(&mut worker));
    assert_eq!(hear(&mut sender).len(), 0);
    // One that was under way and one that was not sent, each beside a client's.
    sender.offer_probe(site.accept()).unwrap();
    sender.flush().unwrap();
    sender.offer_probe(site.accept()).unwrap();
    sender.offer(site.accept()).unwrap();
    drop(worker);
    let mut said = Vec::new();
    while sender.receive(8, &mut said).unwrap() != Progress::Closed {}
    let returned = said.iter().filter(|said| matches!(said, Said::Returned(_))).count();
    assert_eq!(returned + sender.take_back().count(), 2, "the clients alone");
}
