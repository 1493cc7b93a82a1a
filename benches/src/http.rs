//! One HTTP request at a time, blocking: for asking a worker something, not for load.
//!
//! Owns the smallest client that can tell an answer from none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::time::Duration;

use crate::wait;

/// An answer took longer than this: nobody is there.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The body of the answer to `GET path`.
///
/// # Errors
///
/// No connection, no complete answer within ten seconds, or a status other than 200.
pub fn get(target: SocketAddr, path: &str) -> Result<String, String> {
    get_within(target, path, TIMEOUT)
}

/// The same, with less patience.
///
/// # Errors
///
/// As [`get`], but that nothing comes for `patience`.
pub fn get_within(target: SocketAddr, path: &str, patience: Duration) -> Result<String, String> {
    let stream =
        TcpStream::connect_timeout(&target, patience).map_err(|error| format!("{target}: {error}"))?;
    stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    exchange(stream, path).map_err(|why| format!("{target}{path}: {why}"))
}

/// The same over a Unix socket.
///
/// # Errors
///
/// As [`get`].
pub fn get_unix(target: &UnixAddr, path: &str) -> Result<String, String> {
    let stream = UnixStream::connect_addr(target).map_err(|error| format!("{target:?}: {error}"))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| error.to_string())?;
    exchange(stream, path).map_err(|why| format!("{target:?}{path}: {why}"))
}

/// The same as JSON.
///
/// # Errors
///
/// As [`get`], and if the body is not JSON.
pub fn get_json(target: SocketAddr, path: &str) -> Result<serde_json::Value, String> {
    let body = get(target, path)?;
    serde_json::from_str(&body).map_err(|error| format!("'{body}': {error}"))
}

/// The JSON answers of as many different workers, told apart by their `pid`.
///
/// # Errors
///
/// Fewer have answered after `within`.
pub fn get_from_all(
    target: SocketAddr,
    path: &str,
    workers: usize,
    within: Duration,
) -> Result<Vec<serde_json::Value>, String> {
    let mut seen = std::collections::BTreeMap::new();
    let what = format!("answers of {workers} workers on {target}{path}");
    let found = wait::until(&what, within, || {
        for answer in at_once(target, path, workers * 4).into_iter().flatten() {
            seen.insert(answer["pid"].as_u64().unwrap_or(0), answer);
        }
        (seen.len() >= workers).then_some(())
    });
    found.map_err(|why| format!("{why}; answers: {:?}", seen.values()))?;
    Ok(seen.into_values().collect())
}

/// As many requests at the same time, so that idle workers get their share.
fn at_once(target: SocketAddr, path: &str, count: usize) -> Vec<Result<serde_json::Value, String>> {
    std::thread::scope(|scope| {
        let ask = || get_json(target, path);
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("panicked".into()))).collect()
    })
}

fn exchange(mut stream: impl Read + Write, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: '{answer}'"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    if chunked { unchunk(body) } else { Ok(body.to_owned()) }
}

fn unchunk(mut body: &str) -> Result<String, String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").ok_or("an unfinished chunk")?;
        let length = usize::from_str_radix(length, 16).map_err(|error| error.to_string())?;
        if length == 0 {
            return Ok(whole);
        }
        whole.push_str(rest.get(..length).ok_or("an unfinished chunk")?);
        body = rest.get(length + 2..).ok_or("an unfinished chunk")?;
    }
}
