//! A Dockerfile, and a file for compose.
//!
//! Owns what an image has to hold, and what who runs it has to be told: the stop signal and how long it takes. Called by `export`.

use std::fmt::Write as _;

use super::{Service, label, quoted_list};

/// What is waited beyond our own deadline, in seconds.
const BEYOND_SECS: u64 = 5;

/// Programs whose image is known; of others, a system that has a C library.
const IMAGES: [(&str, &str); 8] = [
    ("node", "node:22-slim"),
    ("npm", "node:22-slim"),
    ("npx", "node:22-slim"),
    ("python", "python:3.13-slim"),
    ("python3", "python:3.13-slim"),
    ("gunicorn", "python:3.13-slim"),
    ("uvicorn", "python:3.13-slim"),
    ("ruby", "ruby:3.4-slim"),
];

pub(super) fn dockerfile(service: &Service) -> String {
    let known = IMAGES.iter().find(|(program, _)| *program == service.program);
    let image = known.map_or("debian:stable-slim", |(_, image)| image);
    let expose: String = service.ports.iter().map(|port| format!("EXPOSE {port}\n")).collect();
    format!(
        "\
# Written by `clustr export dockerfile`; `clustr` itself has to lie beside it.
FROM {image}
COPY clustr /usr/local/bin/clustr
WORKDIR /app
COPY . .
{expose}# As process 1, clustr reaps what others leave behind: no other init is needed.
STOPSIGNAL SIGTERM
ENTRYPOINT [\"clustr\"]
CMD {}
",
        quoted_list(&service.in_image())
    )
}

pub(super) fn compose(service: &Service) -> String {
    let name = label(&service.name);
    let mut ports = String::new();
    for (at, port) in service.ports.iter().enumerate() {
        let head = if at == 0 { "    ports:\n" } else { "" };
        let _ = writeln!(ports, "{head}      - \"{port}:{port}\"");
    }
    let health: Vec<String> = [vec!["CMD".to_owned()], service.asked(&[])].concat();
    format!(
        "\
# compose.yaml, written by `clustr export compose`; the image: clustr export dockerfile > Dockerfile
services:
  {name}:
    build: .
    command: {}
{ports}    stop_signal: SIGTERM
    # Longer than the primary's own deadline of {} s.
    stop_grace_period: {}s
    restart: on-failure
    healthcheck:
      test: {}
      interval: 10s
      timeout: 6s
      start_period: {}s
",
        quoted_list(&service.in_image()),
        service.stop_secs,
        service.stop_secs + BEYOND_SECS,
        quoted_list(&health),
        service.ready_secs,
    )
}
