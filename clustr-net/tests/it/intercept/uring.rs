//! What seccomp does not see: a bind through io_uring. A limit, stated and watched.

use std::process::Command;

use super::cases::local;
use super::compiled::{built, stage};
use super::stage::free_port;

/// Binds by `IORING_OP_BIND` (since Linux 6.11), and ends with the errno, or waits.
const URING: &str = r#"
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct io_uring_params p;
    struct sockaddr_in a = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    memset(&p, 0, sizeof p);
    int ring = syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0) return 77;
    char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED,
                    ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *e = mmap(0, p.sq_entries * sizeof *e, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    memset(e, 0, sizeof *e);
    e->opcode = 56;
    e->fd = s;
    e->addr = (unsigned long)&a;
    e->addr2 = sizeof a;
    *(unsigned *)(sq + p.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) != 1) return 77;
    int bound = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))->res;
    if (bound == -22) return 77;
    if (bound) return -bound;
    if (listen(s, 9)) return 1;
    pause();
}
"#;

#[test]
fn a_bind_through_io_uring_is_not_seen_and_the_second_one_is_in_use() {
    let Some(mut stage) = stage() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = built(folder.path(), "uring", URING, &[]) else { return };
    let port = free_port();
    let start = |stage: &mut super::stage::Stage, slot| {
        let mut command = Command::new(&program);
        stage.start(slot, {
            command.arg(port.to_string());
            command
        })
    };
    let first = start(&mut stage, 0);
    let deadline = crate::deadline::Deadline::new();
    while std::net::TcpStream::connect(local(port)).is_err() {
        if stage.ended(first) == Some(77) {
            return eprintln!("this kernel binds nothing through io_uring: nothing to see");
        }
        deadline.check(|| "it listens".to_owned());
    }
    let second = start(&mut stage, 1);
    assert_eq!(stage.code(second), Some(98), "EADDRINUSE");
    assert!(stage.kept().is_empty());
}
