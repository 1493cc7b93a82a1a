//! A unit of systemd: systemd.service(5).
//!
//! Owns what a primary needs of its unit, and why; and systemd's own way to quote. Called by `export`.

use std::path::Path;

use super::Service;

/// What systemd waits beyond our own deadlines, so that ours is the first: in seconds.
const BEYOND_SECS: u64 = 10;

pub(super) fn unit(service: &Service, clustr: &Path) -> String {
    let Service { name, folder, ready_secs, stop_secs, .. } = service;
    let clustr = quoted(&clustr.display().to_string());
    let words: Vec<String> = service.in_place().iter().map(|word| quoted(word)).collect();
    let words = words.join(" ");
    let which = service.control.as_ref().map(|path| format!("--control {}", quoted(path)));
    let which = which.unwrap_or_else(|| format!("--name {name}"));
    let folder = escaped(&folder.display().to_string());
    let (start, stop) = (ready_secs + BEYOND_SECS, stop_secs + BEYOND_SECS);
    format!(
        "\
# /etc/systemd/system/{name}.service, written by `clustr export systemd`

[Unit]
Description={name}, a cluster of workers
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
# It says when every worker is ready, and that it is alive.
Type=notify
WatchdogSec=30
WorkingDirectory={folder}
ExecStart={clustr} {words}
# Fails, and leaves the old version serving, where the new one is not ready.
ExecReload={clustr} reload {which}
# The stop signal goes to the primary, which lets its workers finish; SIGKILL to all that is left.
KillMode=mixed
TimeoutStartSec={start}
# Longer than its own deadline of {stop_secs} s.
TimeoutStopSec={stop}
Restart=on-failure
RestartSec=1
# Its cgroup is its own, to divide among workers.
Delegate=yes
# Room for listeners that it may leave with systemd.
FileDescriptorStoreMax=64
LimitNOFILE=65536
# As a user of its own:
# User={name}
# RuntimeDirectory={name}
# Environment=CLUSTR_RUNTIME_DIR=%t/{name}

[Install]
WantedBy=multi-user.target
"
    )
}

/// One word of a command line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:+,@[]{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            // Its own variables.
            '$' => text.push_str("$$"),
            _ => text.push(c),
        }
    }
    text.push('"');
    escaped(&text)
}

/// Its own specifiers.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        assert_eq!(quoted("--listen=web=[::]:3001"), "--listen=web=[::]:3001");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted("$HOME 100%"), "\"$$HOME 100%%\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a;b"), "\"a;b\"");
    }
}
