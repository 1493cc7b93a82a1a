//! Misfortune under load, briefly: `cargo xtask soak` does the same for long.

use std::path::Path;
use std::time::Duration;

use clustr_benches::trials::{self, Outcome, Reloads, Subject};

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome as Done};

#[test]
fn a_storm_of_kills_refuses_nobody_and_lets_nobody_wait_in_shared() {
    with_node(|_| told(trials::storm(subject("shared"), 40)));
}

#[test]
fn a_storm_of_kills_refuses_nobody_and_lets_nobody_wait_in_per_worker() {
    in_queues(|subject| trials::storm(subject, 40));
}

/// The log is written right after the word that a connection is served: whatever fails had been answered for.
#[test]
fn a_storm_of_kills_over_connections_that_are_handed_over_takes_along_only_what_was_answered_for() {
    with_node(|_| told(trials::storm(subject("handoff"), 40)));
}

#[test]
fn clients_that_come_while_all_slots_are_dead_wait_and_are_answered_in_shared() {
    with_node(|_| told(trials::outage(subject("shared"), 2)));
}

#[test]
fn clients_that_come_while_all_slots_are_dead_wait_and_are_answered_in_per_worker() {
    in_queues(|subject| trials::outage(subject, 2));
}

#[test]
fn clients_that_come_while_all_slots_are_dead_wait_and_are_answered_in_handoff() {
    with_node(|_| told(trials::outage(subject("handoff"), 2)));
}

#[test]
fn scaling_down_and_up_loses_nobody_in_shared() {
    with_node(|_| told(trials::scaling(subject("shared"), 6, 2)));
}

#[test]
fn scaling_down_and_up_loses_nobody_in_per_worker() {
    in_queues(|subject| trials::scaling(subject, 6, 2));
}

#[test]
fn scaling_down_and_up_loses_nobody_in_handoff() {
    with_node(|_| told(trials::scaling(subject("handoff"), 6, 2)));
}

#[test]
fn reloads_fail_no_request_of_any_kind_in_shared() {
    with_node(|_| told(trials::reloads(subject("shared"), BRIEFLY)));
}

#[test]
fn reloads_fail_no_request_of_any_kind_in_per_worker() {
    in_queues(|subject| trials::reloads(subject, BRIEFLY));
}

#[test]
fn reloads_fail_no_request_of_any_kind_in_handoff() {
    with_node(|_| told(trials::reloads(subject("handoff"), BRIEFLY)));
}

#[test]
fn reloads_fail_no_request_over_a_unix_socket_that_is_shared() {
    with_node(|_| told(trials::reloads(subject("shared"), Reloads { unix: true, ..BRIEFLY })));
}

#[test]
fn reloads_fail_no_request_over_a_unix_socket_whose_connections_are_handed_over() {
    with_node(|_| told(trials::reloads(subject("handoff"), Reloads { unix: true, ..BRIEFLY })));
}

#[test]
fn a_host_that_is_short_of_everything_for_a_while_loses_nobody_in_shared() {
    with_node(|_| told(trials::shortage(subject("shared"))));
}

#[test]
fn a_host_that_is_short_of_everything_for_a_while_loses_nobody_in_per_worker() {
    in_queues(trials::shortage);
}

#[test]
fn a_host_that_is_short_of_everything_for_a_while_loses_nobody_in_handoff() {
    with_node(|_| told(trials::shortage(subject("handoff"))));
}

#[test]
fn fifty_reloads_with_clients_that_never_close_leave_few_old_generations_and_none_for_long() {
    with_node(|_| told(trials::lingering(subject("shared"), 50, Duration::from_millis(500))));
}

const BRIEFLY: Reloads = Reloads { count: 3, per_second: Some(300.0), unix: false };

/// A trial of queues of their own, which proves something only where the kernel does not move connections itself.
fn in_queues(trial: impl FnOnce(Subject<'_>) -> Outcome) {
    if trials::kernel_migrates() {
        println!("skipped: net.ipv4.tcp_migrate_req = 0 not found");
        return;
    }
    with_node(|_| told(trial(subject("per-worker"))));
}

fn subject(share: &str) -> Subject<'_> {
    Subject { clustr: Path::new(CLUSTR), share }
}

fn told(outcome: Outcome) -> Done {
    println!("{}", outcome?);
    Ok(())
}
