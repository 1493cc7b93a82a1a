//! Our end of a channel, with a hostile, a slow or an orderly worker on the other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use clustr_net::node::{
    Answer, Endpoint, LINE_BYTES_MAX, Progress, QUEUE_BYTES_MAX, QUEUE_LINES_MAX, Query, Said, SendError,
    Table,
};
use clustr_net::{Kind, scm};

use crate::deadline::PATIENCE;
use crate::support::{alone, leave_room_for, open_descriptors};

const ONLINE: &str = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\",\"seq\":0}\n";
const HANDLE: &str = "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":{\"n\":1}}\n";
const ACK: &str = "{\"cmd\":\"NODE_HANDLE_ACK\"}\n";
const NACK: &str = "{\"cmd\":\"NODE_HANDLE_NACK\"}\n";
const QUERY: &str = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":0,\"data\":null,\"address\":\"127.0.0.1\",\
                     \"port\":0,\"addressType\":4,\"seq\":1}\n";

/// An endpoint, and the worker's end for a test to speak over.
struct Pair {
    ours: Endpoint,
    theirs: UnixStream,
}

impl Pair {
    fn new() -> Self {
        let (ours, theirs) = Endpoint::pair().unwrap();
        let theirs = UnixStream::from(theirs);
        theirs.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { ours, theirs }
    }

    fn say(&mut self, text: &str) -> Vec<Said> {
        self.theirs.write_all(text.as_bytes()).unwrap();
        self.hear()
    }

    fn say_with(&mut self, text: &str, fds: &[BorrowedFd<'_>]) -> Vec<Said> {
        scm::send(&self.theirs, text.as_bytes(), fds).unwrap();
        self.hear()
    }

    /// Everything that has arrived.
    fn hear(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        while self.ours.receive(64, &mut said).unwrap() == Progress::More {}
        said
    }

    /// A query that was asked.
    fn query(&mut self) -> Query {
        let said = self.say(&format!("{ONLINE}{QUERY}"));
        let Some(Said::Query(query)) = said.into_iter().nth(1) else { panic!("no query") };
        query
    }

    /// What the worker can read now, as text.
    fn sent(&mut self) -> String {
        self.theirs.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        let error = self.theirs.read_to_end(&mut bytes).err();
        self.theirs.set_nonblocking(false).unwrap();
        assert!(error.is_none_or(|error| error.kind() == ErrorKind::WouldBlock));
        String::from_utf8(bytes).unwrap()
    }
}

fn listening<'a>(fd: &'a TcpListener, key: &'a str) -> Answer<'a> {
    Answer {
        key: key.into(),
        errno: 0,
        data: "null".into(),
        fd: Some(fd.as_fd()),
        kind: Kind::Stream,
        sockname: None,
        handed: None,
    }
}

#[test]
fn the_first_words_are_understood_and_the_speaker_is_known() {
    let mut pair = Pair::new();
    let said = pair.say(&format!("{ONLINE}\"ready\"\nnot json\n"));
    assert!(matches!(said[0], Said::Online { pid } if pid == Some(std::process::id())));
    assert!(matches!(&said[1], Said::User(json) if json == "\"ready\""));
    assert!(matches!(said[2], Said::Garbage { bytes: 8 }));
    assert_eq!(said.len(), 3);
}

#[test]
fn a_query_is_answered_with_the_descriptor_in_the_same_message() {
    let mut pair = Pair::new();
    let query = pair.query();
    let mut table = Table::new(Vec::new());
    pair.ours.answer(&query, table.answer(1, &query)).unwrap();
    let (mut buf, mut fds) = ([0; 512], Vec::new());
    let received = scm::recv(&pair.theirs, &mut buf, &mut fds).unwrap();
    let line = std::str::from_utf8(&buf[..received.bytes]).unwrap();
    assert_eq!(
        line,
        "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"key\":\"1\",\
         \"errno\":0,\"data\":null,\"seq\":0}}\n"
    );
    let listener = TcpListener::from(fds.remove(0));
    assert_eq!(Some(listener.local_addr().unwrap().port()), table.listeners().next().unwrap().port());
    assert!(matches!(pair.say(ACK)[..], [Said::HandleAcked { seq: 0 }]));
    assert!(pair.say(ACK).is_empty() && pair.say(NACK).is_empty(), "stray words mean nothing");
}

#[test]
fn a_query_of_a_program_that_never_said_it_runs_is_named_once_and_dropped() {
    let mut pair = Pair::new();
    let said = pair.say(&format!("{QUERY}{QUERY}"));
    assert!(matches!(said[..], [Said::HalfInitialised]), "{said:?}");
}

#[test]
fn every_handle_is_acknowledged_once_and_one_that_did_not_arrive_is_refused() {
    let mut pair = Pair::new();
    let near = UnixStream::pair().unwrap().0;
    let said = pair.say_with(HANDLE, &[near.as_fd()]);
    assert!(
        matches!(&said[..], [Said::UserHandle { json, kind, .. }] if json == "{\"n\":1}" && kind == "net.Socket")
    );
    assert_eq!(pair.sent(), ACK);
    let said = pair.say(HANDLE);
    assert!(matches!(said[..], [Said::Garbage { bytes: 0 }]));
    assert_eq!(pair.sent(), NACK);
}

#[test]
fn a_descriptor_belongs_to_the_line_that_came_with_it_and_to_no_later_one() {
    let mut pair = Pair::new();
    let near = UnixStream::pair().unwrap().0;
    assert!(matches!(pair.say_with("\"unasked\"\n", &[near.as_fd(), near.as_fd()])[..], [Said::User(_)]));
    assert!(matches!(pair.say(HANDLE)[..], [Said::Garbage { bytes: 0 }]));
    assert_eq!(pair.sent(), NACK);
    // In pieces: the descriptor comes with the first, the end of the line later.
    let (head, tail) = HANDLE.split_at(20);
    assert!(pair.say_with(head, &[near.as_fd()]).is_empty());
    assert!(matches!(pair.say(tail)[..], [Said::UserHandle { .. }]));
    assert_eq!(pair.sent(), ACK);
}

#[test]
fn no_descriptor_of_a_hostile_worker_stays_open() {
    if !alone("endpoint::no_descriptor_of_a_hostile_worker_stays_open") {
        return;
    }
    let mut pair = Pair::new();
    let near = UnixStream::pair().unwrap().0;
    let before = open_descriptors();
    let many = vec![near.as_fd(); scm::FDS_MAX];
    for _ in 0..100 {
        pair.say_with("x", &many);
        assert!(open_descriptors() <= before + 16, "an unfinished line keeps a few at most");
    }
    pair.say_with(&format!("\n{HANDLE}{HANDLE}"), &many);
    pair.say("1\n");
    assert_eq!(open_descriptors(), before);
    pair.say_with("unfinished", &many);
    let Pair { mut ours, theirs } = pair;
    drop(theirs);
    assert_eq!(ours.receive(64, &mut Vec::new()).unwrap(), Progress::Closed);
    assert_eq!(open_descriptors(), before - 1);
}

#[test]
fn a_handle_for_which_we_have_no_descriptor_left_is_refused_and_the_next_one_is_its_own() {
    if !alone(
        "endpoint::a_handle_for_which_we_have_no_descriptor_left_is_refused_and_the_next_one_is_its_own",
    ) {
        return;
    }
    let mut pair = Pair::new();
    let near = UnixStream::pair().unwrap().0;
    let filler = leave_room_for(1);
    scm::send(&pair.theirs, HANDLE.as_bytes(), &[near.as_fd()]).unwrap();
    scm::send(&pair.theirs, HANDLE.replace(":1", ":2").as_bytes(), &[near.as_fd()]).unwrap();
    let said = pair.hear();
    assert!(
        matches!(&said[..], [Said::UserHandle { json, .. }, Said::Garbage { .. }] if json == "{\"n\":1}"),
        "{said:?}"
    );
    assert_eq!(pair.sent(), format!("{ACK}{NACK}"));
    drop((filler, said));
    assert!(matches!(pair.say_with(HANDLE, &[near.as_fd()])[..], [Said::UserHandle { .. }]));
    assert_eq!(pair.sent(), ACK);

    // The lost one belongs to a line whose end comes in one read with the next handle.
    let (head, tail) = HANDLE.split_at(20);
    let filler = leave_room_for(0);
    assert!(pair.say_with(head, &[near.as_fd()]).is_empty());
    drop(filler);
    pair.theirs.write_all(tail.as_bytes()).unwrap();
    let said = pair.say_with(&HANDLE.replace(":1", ":2"), &[near.as_fd()]);
    assert!(
        matches!(&said[..], [Said::Garbage { .. }, Said::UserHandle { json, .. }] if json == "{\"n\":2}"),
        "{said:?}"
    );
}

#[test]
fn an_acknowledgement_overtakes_what_waits_but_never_splits_a_line() {
    let mut pair = Pair::new();
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    pair.ours.send_user(&long).unwrap();
    pair.ours.send_user("\"last\"").unwrap();
    assert!(pair.ours.wants_write(), "the line is half out");
    pair.say(HANDLE);
    let mut text = String::new();
    while pair.ours.wants_write() {
        text.push_str(&pair.sent());
        pair.ours.flush().unwrap();
    }
    text.push_str(&pair.sent());
    assert!(text == format!("{long}\n{NACK}\"last\"\n"), "{:?}", &text[text.len() - 60..]);
}

#[test]
fn the_end_comes_after_everything_that_was_said_before_it() {
    let mut pair = Pair::new();
    pair.theirs.write_all(format!("{ONLINE}1\n2\n3").as_bytes()).unwrap();
    pair.ours.send_user("\"unread\"").unwrap();
    drop(pair.theirs);
    let mut said = Vec::new();
    assert_eq!(pair.ours.receive(2, &mut said).unwrap(), Progress::More);
    assert_eq!(said.len(), 2);
    assert!(pair.ours.is_open());
    assert_eq!(pair.ours.receive(2, &mut said).unwrap(), Progress::Closed);
    assert_eq!((said.len(), pair.ours.is_open()), (3, false));
    assert_eq!(pair.ours.receive(2, &mut said).unwrap(), Progress::Closed);
    assert!(matches!(pair.ours.send_user("1"), Err(SendError::Closed)));
    assert!(matches!(pair.ours.disconnect(), Err(SendError::Closed)));
}

#[test]
fn a_failed_write_does_not_hide_what_was_said() {
    let mut pair = Pair::new();
    pair.theirs.write_all(ONLINE.as_bytes()).unwrap();
    drop(pair.theirs);
    assert!(matches!(pair.ours.send_user("1"), Err(SendError::Closed)));
    assert!(pair.ours.is_open() && !pair.ours.wants_write());
    let mut said = Vec::new();
    assert_eq!(pair.ours.receive(64, &mut said).unwrap(), Progress::Closed);
    assert!(matches!(said[..], [Said::Online { .. }]));
}

#[test]
fn after_disconnect_no_query_is_told_or_answered() {
    let mut pair = Pair::new();
    let query = pair.query();
    pair.ours.disconnect().unwrap();
    pair.ours.disconnect().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    pair.ours.answer(&query, listening(&listener, "1")).unwrap();
    assert_eq!(pair.sent(), "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"disconnect\",\"seq\":0}\n");
    let close = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"close\",\"key\":\"1\",\"seq\":2}\n";
    assert!(matches!(pair.say(&format!("{QUERY}{close}"))[..], [Said::Closed { .. }]));
    assert!(pair.ours.is_disconnecting());
}

#[test]
fn a_leave_taking_is_acknowledged() {
    let mut pair = Pair::new();
    let said = pair.say("{\"cmd\":\"NODE_CLUSTER\",\"act\":\"exitedAfterDisconnect\",\"seq\":5}\n");
    assert!(matches!(said[..], [Said::Leaving]));
    assert_eq!(pair.sent(), "{\"cmd\":\"NODE_CLUSTER\",\"ack\":5,\"seq\":0}\n");
}

#[test]
fn a_refused_listener_is_answered_with_an_error_and_its_key_is_closed() {
    let mut pair = Pair::new();
    let query = pair.query();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    pair.ours.answer(&query, listening(&listener, "k")).unwrap();
    pair.sent();
    let said = pair.say(NACK);
    assert!(matches!(&said[..], [Said::HandleRefused { seq: 0 }, Said::Closed { key }] if key == "k"));
    assert_eq!(
        pair.sent(),
        "{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"key\":\"k\",\"errno\":-24,\"data\":null,\"seq\":1}\n"
    );
}

#[test]
fn what_would_not_reach_the_app_is_refused() {
    let mut pair = Pair::new();
    for json in ["", "{", "1 2", "nope"] {
        assert!(matches!(pair.ours.send_user(json), Err(SendError::NotJson)), "{json}");
    }
    assert!(matches!(pair.ours.send_user(r#"{"cmd":"NODE_HANDLE_ACK"}"#), Err(SendError::Reserved)));
    pair.ours.send_user("{\n \"cmd\": \"NODE_\"\n}").unwrap();
    assert_eq!(pair.sent(), "{  \"cmd\": \"NODE_\" }\n");
}

#[test]
fn a_worker_that_never_reads_cannot_make_us_grow() {
    let mut pair = Pair::new();
    let message = format!("\"{}\"", "x".repeat(1 << 20));
    let error = (0..100).find_map(|_| pair.ours.send_user(&message).err()).unwrap();
    assert!(matches!(error, SendError::Full));
    assert!(pair.ours.wants_write());
    let longest = format!("\"{}\"", "x".repeat(QUEUE_BYTES_MAX));
    assert!(matches!(Pair::new().ours.send_user(&longest), Err(SendError::Full)));
}

#[test]
fn a_worker_that_never_reads_cannot_make_us_keep_countless_short_messages() {
    let mut pair = Pair::new();
    let taken = std::iter::repeat_with(|| pair.ours.send_user("1")).take_while(Result::is_ok).count();
    // What the socket itself took first is the kernel's to bound.
    let in_socket = pair.sent().len() / "1\n".len();
    assert_eq!(taken - in_socket, QUEUE_LINES_MAX);
}

#[test]
fn a_worker_that_wants_acknowledgements_and_never_reads_them_is_cut_off() {
    let mut pair = Pair::new();
    let mut said = Vec::new();
    let error = loop {
        pair.theirs.write_all(HANDLE.repeat(100).as_bytes()).unwrap();
        match pair.ours.receive(1000, &mut said) {
            Ok(_) => said.clear(),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), pair.ours.is_open()), (ErrorKind::QuotaExceeded, false));
}

#[test]
fn a_line_without_end_is_cut_off() {
    let Pair { mut ours, mut theirs } = Pair::new();
    let writer =
        std::thread::spawn(move || theirs.write_all(&vec![b'x'; LINE_BYTES_MAX + 1]).map(|()| theirs));
    let error = loop {
        if let Err(error) = ours.receive(64, &mut Vec::new()) {
            break error;
        }
    };
    assert_eq!((error.kind(), ours.is_open()), (ErrorKind::InvalidData, false));
    drop(ours);
    let _ = writer.join().unwrap();
}

#[test]
fn a_descriptor_comes_with_its_own_line_however_slowly_the_worker_reads() {
    let mut pair = Pair::new();
    let query = pair.query();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let long = format!("\"{}\"", "x".repeat(300_000));
    for key in ["1", "2", "3"] {
        pair.ours.send_user(&long).unwrap();
        pair.ours.answer(&query, listening(&listener, key)).unwrap();
    }
    let (mut stream, mut carried) = (Vec::new(), Vec::new());
    while carried.len() < 3 {
        let (mut buf, mut fds): (_, Vec<OwnedFd>) = ([0; 1000], Vec::new());
        let received = scm::recv(&pair.theirs, &mut buf, &mut fds).unwrap();
        stream.extend_from_slice(&buf[..received.bytes]);
        if !fds.is_empty() {
            carried.push((stream.len(), fds.len()));
        }
        pair.ours.flush().unwrap();
    }
    assert!(!pair.ours.wants_write());
    let text = String::from_utf8(stream).unwrap();
    for (end, count) in carried {
        let line = text[..end].trim_end().rsplit('\n').next().unwrap();
        assert!(line.starts_with("{\"cmd\":\"NODE_HANDLE\"") && count == 1, "{line:.100}");
    }
    assert!(matches!(
        pair.say(&ACK.repeat(3))[..],
        [Said::HandleAcked { .. }, Said::HandleAcked { .. }, Said::HandleAcked { .. }]
    ));
}

#[test]
fn after_a_line_that_left_in_pieces_no_descriptor_follows_before_the_acknowledgement() {
    let mut pair = Pair::new();
    let query = pair.query();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let data = format!("\"{}\"", "x".repeat(1 << 20));
    let answer = Answer { data: data.as_str().into(), ..listening(&listener, "1") };
    pair.ours.answer(&query, answer).unwrap();
    pair.ours.answer(&query, listening(&listener, "2")).unwrap();
    let mut fds_seen = 0;
    while pair.ours.wants_write() {
        let (mut buf, mut fds) = (vec![0; 1 << 16], Vec::new());
        scm::recv(&pair.theirs, &mut buf, &mut fds).unwrap();
        fds_seen += fds.len();
        pair.ours.flush().unwrap();
    }
    let mut rest = pair.sent();
    assert!(fds_seen == 1 && !rest.contains("\"key\":\"2\""));
    // Our own acknowledgements do not wait behind it: the worker might wait for one before it says anything.
    pair.say(HANDLE);
    assert_eq!(pair.sent(), NACK);
    pair.say(ACK);
    rest = pair.sent();
    assert!(rest.contains("\"key\":\"2\""), "{rest}");
}

#[test]
fn a_probe_is_answered_to_nobody_comes_back_to_nobody_and_is_sent_again_only_when_it_was_answered() {
    let mut pair = Pair::new();
    pair.say(ONLINE);
    let connection = || UnixStream::pair().unwrap().0.into();
    (0..4).for_each(|_| pair.ours.probe("1", connection()).unwrap());
    assert!(matches!(pair.ours.probe("1", connection()), Err(SendError::Full)));
    let said = pair.say(&format!("{ACK}{{\"cmd\":\"NODE_CLUSTER\",\"ack\":0,\"accepted\":true}}\n"));
    assert!(said.is_empty(), "{said:?}");
    let said = pair.say(&format!("{ACK}{{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"accepted\":false}}\n{NACK}"));
    assert!(said.is_empty(), "{said:?}");
    pair.ours.probe("1", connection()).unwrap();
    assert_eq!(pair.ours.reclaim().count(), 0);
}

#[test]
fn the_environment_is_what_node_reads() {
    let pairs = Endpoint::environment(9, 4).map(|(name, value)| format!("{name}={value}"));
    assert_eq!(pairs, ["NODE_CHANNEL_FD=9", "NODE_CHANNEL_SERIALIZATION_MODE=json", "NODE_UNIQUE_ID=4"]);
}

#[test]
fn bun_is_answered_in_its_dialect() {
    let mut pair = Pair::new();
    let marked = format!("\u{2}{ONLINE}\u{2}{QUERY}");
    let Some(Said::Query(query)) = pair.say(&marked).into_iter().nth(1) else { panic!("no query") };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    pair.ours.answer(&query, listening(&listener, "1")).unwrap();
    let sent = pair.sent();
    assert!(
        sent.starts_with("\u{2}{\"cmd\":\"NODE_CLUSTER\",\"ack\":1")
            && sent.ends_with("\"$hasHandle\":true}\n"),
        "{sent}"
    );
    assert!(matches!(pair.say(ACK)[..], [Said::HandleAcked { .. }]));
}
