//! Manifests for Kubernetes: a Deployment, and a Service where there are ports.
//!
//! Owns what a pod has to be told so that no client is lost: when it is ready, how long its end takes, and that the end begins only
//! once nobody is sent there any more. Called by `export`.

use std::fmt::Write as _;

use crate::names::shell_line;

use super::{Service, label, quoted, quoted_list};

/// How long the removal of an endpoint may take, which runs beside the end of its pod: in seconds.
const ENDPOINT_SECS: u64 = 5;
/// What the kubelet waits beyond our own deadline.
const BEYOND_SECS: u64 = 5;

pub(super) fn manifests(service: &Service) -> String {
    let name = label(&service.name);
    let stop = service.stop_secs;
    let grace = ENDPOINT_SECS + stop + BEYOND_SECS;
    let (ports, endpoint) = (ports(service), endpoint(service, &name));
    let (running, status) = (running(service), quoted_list(&service.asked(&[])));
    let (ready, resources) = (readiness(service), resources(service));
    format!(
        "\
# Written by `clustr export kubernetes`; the image: clustr export dockerfile, docker build -t {name}:latest .
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  replicas: 2
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  strategy:
    rollingUpdate:
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      # Longer than preStop and the primary's own deadline of {stop} s together.
      terminationGracePeriodSeconds: {grace}
      containers:
        - name: {name}
          image: {name}:latest
          command: [\"clustr\"]
          args: {}
{ports}          startupProbe:
            exec:
              command: {running}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: {}
          readinessProbe:
{ready}            periodSeconds: 5
            timeoutSeconds: 5
          # Workers that hang are the primary's to replace; this asks for the primary alone.
          livenessProbe:
            exec:
              command: {status}
            periodSeconds: 10
            timeoutSeconds: 6
            failureThreshold: 3
          lifecycle:
            preStop:
              exec:
                # Clients are sent here until the endpoint is removed everywhere.
                command: [\"sleep\", \"{ENDPOINT_SECS}\"]
{resources}{endpoint}",
        quoted_list(&service.in_image()),
        // A pod is not killed while its primary still waits for workers to be ready.
        service.ready_secs.div_ceil(5) + 1,
    )
}

/// A primary that reloads serves.
fn running(service: &Service) -> String {
    let asks = shell_line(service.asked(&["--json"]));
    let looks = r#"grep -Eq '"state":"(running|reloading)","uptime'"#;
    quoted_list(&["sh".to_owned(), "-c".to_owned(), format!("{asks} | {looks}")])
}

fn readiness(service: &Service) -> String {
    match (&service.http, service.ports.first()) {
        (Some(path), Some(port)) => format!(
            "            httpGet:\n              path: {}\n              port: {port}\n",
            quoted(path)
        ),
        (Some(_) | None, _) => format!("            exec:\n              command: {}\n", running(service)),
    }
}

fn ports(service: &Service) -> String {
    let mut text = String::new();
    if !service.ports.is_empty() {
        text.push_str("          ports:\n");
    }
    for port in &service.ports {
        let _ = writeln!(text, "            - name: tcp-{port}\n              containerPort: {port}");
    }
    text
}

/// `--workers auto` is as many as the limit of CPUs has.
fn resources(service: &Service) -> String {
    let cpus = service.workers.unwrap_or(2);
    let memory = match service.memory_bytes {
        // What the primary and a replacement beside the others need.
        Some(bytes) => bytes.div_ceil(1 << 20) * 5 / 4 + 32,
        None => u64::from(cpus) * 256,
    };
    format!(
        "          resources:
            requests:
              cpu: \"{cpus}\"
              memory: {memory}Mi
            limits:
              cpu: \"{cpus}\"
              memory: {memory}Mi
"
    )
}

fn endpoint(service: &Service, name: &str) -> String {
    if service.ports.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
spec:
  selector:
    app.kubernetes.io/name: {name}
  ports:
"
    );
    for port in &service.ports {
        let _ = writeln!(text, "    - name: tcp-{port}\n      port: {port}\n      targetPort: {port}");
    }
    text
}
