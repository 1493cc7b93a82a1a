//! Times, sizes and counts for people.
//!
//! Owns their short forms. Scripts get the raw numbers by `--json`.

/// `850ms`, `12s`, `3m20s`, `4h05m`, `2d03h`: two units at most.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// How much of one CPU a process has had in its life, as ps(1) counts it: `0.4%`, `97%`, `240%`.
pub(crate) fn share(cpu_ms: u64, life_ms: u64) -> String {
    let tenths = cpu_ms.saturating_mul(1_000) / life_ms.max(1);
    if tenths < 100 { format!("{}.{}%", tenths / 10, tenths % 10) } else { format!("{}%", tenths / 10) }
}

/// `512 B`, `38 kB`, `52 MB`, `1.2 GB`: powers of 1000, as `ls --si` and memory limits of containers have them.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 worker`, `2 workers`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_at_most() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (86_399_999, "23h59m"),
            (86_400_000, "1d00h"),
            (u64::MAX, "213503982334d14h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
        let shares = [share(0, 0), share(4, 1_000), share(970, 1_000), share(4_800, 2_000)];
        assert_eq!(shares, ["0.0%", "0.4%", "97%", "240%"]);
    }

    #[test]
    fn sizes_and_counts_are_short() {
        assert_eq!(
            [999, 38_400, 52_600_000, 1_290_000_000].map(bytes),
            ["999 B", "38 kB", "52 MB", "1.2 GB"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([plural(1, "worker"), plural(2, "worker")], ["1 worker", "2 workers"]);
    }
}
