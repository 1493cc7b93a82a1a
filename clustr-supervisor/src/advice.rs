//! What a person who reads a failure wants to hear next.
//!
//! Owns the few failures that are worth a word of advice, told from a worker's last lines. Never decides anything.
//! Called by `execute` when a slot gives up.

use clustr_core::SlotId;

use crate::oom::Shortage;

/// What is known of a slot that gave up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastWords<'a> {
    /// The last lines that it has printed.
    pub(crate) lines: &'a [String],
    /// Whether a node spoke on the channel.
    pub(crate) spoke: bool,
    /// How many workers the app wants.
    pub(crate) wanted: u32,
}

/// What to say, and what to type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Advice {
    pub(crate) detail: String,
    pub(crate) hint: String,
}

/// How "address already in use" is written, in any language.
const IN_USE: [&str; 3] = ["EADDRINUSE", "ddress already in use", "ddress in use"];

/// A word on a failure that is understood.
pub(crate) fn advise(last: LastWords<'_>) -> Option<Advice> {
    last.lines.iter().find(|line| is_in_use(line))?;
    let is_alone = last.wanted == 1;
    if last.spoke || is_alone {
        return Some(Advice { detail: "another program has the port".into(), hint: who_has(last.lines) });
    }
    Some(Advice {
        detail: "the program binds its port itself, so only one worker can have it: in this version ports are shared \
                 with node started directly"
            .into(),
        hint: "clustr run -- node app.js, or clustr run -n 1 -- …".into(),
    })
}

/// On a worker that the kernel has killed for want of memory.
pub(crate) fn out_of_memory(shortage: Shortage, slot: SlotId) -> Advice {
    let (detail, hint) = match shortage {
        Shortage::Cgroup => (
            format!("slot={slot} was killed by the kernel: its cgroup is out of memory"),
            "fewer workers (-n), a higher limit, or --max-rss 400M, which replaces a worker before it comes to that",
        ),
        Shortage::Host => (
            format!("slot={slot} was probably killed by the kernel: the host was out of memory"),
            "free -m; dmesg | grep -i oom; fewer workers (-n), or --max-rss 400M, which replaces a worker before it comes to that",
        ),
    };
    Advice { detail, hint: hint.into() }
}

/// How to find out who it is, with the port if a line names one after a colon: `:::3001`, `127.0.0.1:3001`.
fn who_has(lines: &[String]) -> String {
    let port = lines.iter().filter(|line| is_in_use(line)).find_map(|line| port_of(line));
    port.map_or_else(|| "ss -ltnp".into(), |port| format!("ss -ltnp 'sport = :{port}'"))
}

fn port_of(line: &str) -> Option<u16> {
    let after_colons = line.split(':').skip(1);
    let digits = after_colons.map(|rest| &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()]);
    digits.filter_map(|digits| digits.parse().ok()).find(|port| *port > 0)
}

fn is_in_use(line: &str) -> bool {
    IN_USE.iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(line: &str, spoke: bool, wanted: u32) -> Option<Advice> {
        advise(LastWords { lines: &["…".into(), line.into()], spoke, wanted })
    }

    #[test]
    fn a_port_that_somebody_else_has_is_looked_up() {
        let found = advice("Error: listen EADDRINUSE: address already in use :::3001", true, 4).unwrap();
        assert_eq!(found.hint, "ss -ltnp 'sport = :3001'");
        assert_eq!(advice("  code: 'EADDRINUSE',", true, 4).unwrap().hint, "ss -ltnp");
    }

    #[test]
    fn a_program_that_binds_for_itself_is_told_apart() {
        let found = advice("OSError: [Errno 98] Address already in use", false, 4).unwrap();
        assert!(found.detail.contains("binds its port itself"));
        assert!(advice("OSError: [Errno 98] Address already in use", false, 1).unwrap().hint.contains("ss"));
    }

    #[test]
    fn other_failures_get_no_advice() {
        assert_eq!(advice("ReferenceError: x is not defined", true, 4), None);
    }
}
