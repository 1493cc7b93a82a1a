//! What a control client costs the loop: its request read, its reply written.
//!
//! The picture for `status` is made once: what it costs to gather is the primary's, what it costs as JSON is measured here.
#![allow(missing_docs)] // criterion's macros make public items without them

use std::hint::black_box;

use clustr_supervisor::control::protocol::{Reply, Request};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [u32; 3] = [2, 100, 500];

criterion_group!(benches, requests, replies);
criterion_main!(benches);

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("control/read");
    let lines = [
        ("status", "{\"id\":1,\"cmd\":\"status\"}"),
        ("reload", "{\"id\":2,\"cmd\":\"reload\",\"plan\":\"rolling\",\"slots\":2,\"env\":{\"A\":\"1\"}}"),
    ];
    for (name, line) in lines {
        group.bench_function(name, |bencher| {
            bencher.iter(|| serde_json::from_str::<Request>(black_box(line)).expect("a request"));
        });
    }
    group.finish();
}

fn replies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("control/write_status");
    for workers in SIZES {
        let reply = status(workers);
        let bytes = serde_json::to_vec(&reply).expect("a reply").len();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            bencher.iter(|| black_box(serde_json::to_vec(&reply)).expect("a reply"));
        });
    }
    group.finish();
}

/// A reply as a primary of so many workers writes it.
fn status(workers: u32) -> Reply {
    let worker = |slot: u32| {
        serde_json::json!({
            "slot": slot, "incarnation": 1, "generation": 1, "pid": 10_000 + slot, "state": "ready", "restarts": 0,
            "uptime_ms": 123_456, "last_exit": null, "rss_bytes": 48_000_000, "cpu_ms": 1_234, "rest_ms": null
        })
    };
    let app = serde_json::json!({
        "name": "app", "generation": 1, "wanted": workers, "ready": workers, "share": "shared", "delivery": ["node"],
        "listeners": [{ "address": "[::]:3001" }], "command": ["node", "app.js"],
        "workers": (0..workers).map(worker).collect::<Vec<_>>()
    });
    let status = serde_json::json!({
        "version": 1, "name": "app", "pid": 9_999, "state": "running", "uptime_ms": 123_999, "clustr": "0.1.0",
        "apps": [app]
    });
    let reply = serde_json::json!({ "id": 1, "ok": true, "state": "done", "status": status });
    serde_json::from_value(reply).expect("the shape of a reply")
}
