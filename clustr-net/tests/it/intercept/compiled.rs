//! Programs in C: without shared libraries, and in the 32-bit way.

use std::process::Command;

use clustr_net::intercept::{Rules, Sockets, Way};

use super::cases::local;
use super::stage::{PLAN, Stage, ask, free_port, works};

pub(super) fn stage() -> Option<Stage> {
    let way = works().filter(|way| *way == Way::Adopt)?;
    Some(Stage::new(way, Rules::every_port(), Sockets::per_worker(PLAN)))
}

/// Builds a program in C; `None` where that cannot be done.
pub(super) fn built(
    folder: &std::path::Path,
    name: &str,
    source: &str,
    flags: &[&str],
) -> Option<std::path::PathBuf> {
    let (from, to) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&from, source).unwrap();
    let built = Command::new("cc").args(flags).arg("-o").args([&to, &from]).output();
    let is_built = built.as_ref().is_ok_and(|output| output.status.success());
    if !is_built {
        assert!(std::env::var_os("CI").is_none(), "{built:?}");
        eprintln!("skipped: cc not found, or it cannot build {name}");
    }
    is_built.then_some(to)
}

pub(super) const STATIC: &str = r#"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sockaddr_in a = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(s, (void *)&a, sizeof a) || listen(s, 9)) return 1;
    for (;;) {
        char b[100], *slot = getenv("CLUSTR_SLOT");
        int c = accept(s, 0, 0);
        read(c, b, sizeof b);
        write(c, slot, strlen(slot));
        close(c);
    }
}
"#;

#[test]
fn a_program_without_shared_libraries_is_as_good() {
    let Some(mut stage) = stage() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path(), "static", STATIC, &["-static"]) else { return };
    serve_two(&mut stage, &program, |_| {});
}

#[cfg(target_arch = "x86_64")]
const OLD: &str = r#"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static long call(long nr, long a, long b, long c) {
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return (int)r;
}
int main(int argc, char **argv) {
    unsigned *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    struct sockaddr_in a = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}};
    int s = socket(AF_INET, SOCK_STREAM, 0), bound, listens;
    memcpy(low + 100, &a, sizeof a);
    if (argc > 2) {
        low[0] = s, low[1] = (unsigned)(long)(low + 100), low[2] = sizeof a;
        bound = call(102, 2, (long)low, 0);
        low[1] = 9;
        listens = call(102, 4, (long)low, 0);
    } else {
        bound = call(361, s, (long)(low + 100), sizeof a);
        listens = call(363, s, 9, 0);
    }
    if (bound == -38) return 77;
    if (bound || listens) return 1;
    pause();
}
"#;

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_in_the_32_bit_way_are_seen() {
    let Some(mut stage) = stage() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path(), "old", OLD, &[]) else { return };
    for words in [&["direct"][1..], &["multiplexed"]] {
        let port = free_port();
        let start = |stage: &mut Stage, slot| {
            let mut command = Command::new(&program);
            command.arg(port.to_string()).args(words);
            stage.start(slot, command)
        };
        let first = start(&mut stage, 0);
        stage.ready(&[first]);
        let second = start(&mut stage, 1);
        stage.ready(&[second]);
        assert!(stage.kept().contains(&(format!("127.0.0.1:{port}"), 2)), "{:?}", stage.kept());
    }
}

/// Two workers of the static program, each of which serves.
pub(super) fn serve_two(stage: &mut Stage, program: &std::path::Path, prepare: impl Fn(&mut Command)) {
    let port = free_port();
    let mut start = |slot| {
        let mut command = Command::new(program);
        command.arg(port.to_string());
        prepare(&mut command);
        stage.start(slot, command)
    };
    let workers = [start(0), start(1)];
    stage.ready(&workers);
    let slots: std::collections::BTreeSet<_> = (0..40).map(|_| ask(local(port))).collect();
    assert_eq!(slots.into_iter().collect::<Vec<_>>(), ["0", "1"]);
}
