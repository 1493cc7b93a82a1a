//! What node's cluster protocol costs a primary that hands connections over: our line for each, and the two that come back.
//!
//! One operation is one line written or one pair of answers read. The answers come as they do under load, many in one read.
#![allow(missing_docs)] // criterion's macros make public items without them

use std::hint::black_box;

use clustr_net::node::encode::{Reply, newconn, reply};
use clustr_net::node::{Decoder, Dialect, Message};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Answers in one read.
const PAIRS: usize = 32;

const QUERY: &str = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":0,\"data\":null,\"address\":null,\
    \"port\":3001,\"addressType\":4,\"seq\":1}\n";

criterion_group!(benches, writing, reading);
criterion_main!(benches);

fn writing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node/write");
    for (name, dialect) in [("node", Dialect::Node), ("bun", Dialect::Bun)] {
        let (mut line, mut seq) = (Vec::new(), 0);
        group.bench_function(BenchmarkId::new("newconn", name), |bencher| {
            bencher.iter(|| {
                seq += 1;
                newconn(dialect, seq, "1", &mut line);
                black_box(line.len())
            });
        });
    }
    group.bench_function("reply", |bencher| {
        let words = Reply { key: "1", errno: 0, data: "null", sockname: None };
        bencher.iter(|| black_box(reply(Dialect::Node, None, 1, 1, words)));
    });
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("node/read");
    let answers: String = (0..PAIRS).map(answer).collect();
    let user = "{\"kind\":\"stats\",\"requests\":[1,2,3,4,5,6,7,8],\"text\":\"a message of the app's\"}\n"
        .repeat(PAIRS);
    let many = [("answers", answers, 2 * PAIRS), ("messages", user, PAIRS), ("query", QUERY.to_owned(), 1)];
    for (name, bytes, lines) in many {
        group.throughput(Throughput::Elements(lines as u64));
        let mut decoder = Decoder::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                decoder.push(bytes.as_bytes());
                let known = std::iter::from_fn(|| decoder.decode()).filter(is_known).count();
                assert_eq!(known, lines);
            });
        });
    }
    group.finish();
}

/// The two lines that follow a connection.
fn answer(seq: usize) -> String {
    format!(
        "{{\"cmd\":\"NODE_HANDLE_ACK\"}}\n{{\"cmd\":\"NODE_CLUSTER\",\"ack\":{seq},\"accepted\":true,\"seq\":{seq}}}\n"
    )
}

fn is_known(message: &Message) -> bool {
    !matches!(message, Message::Garbage { .. } | Message::UnknownInternal | Message::Overlong)
}
