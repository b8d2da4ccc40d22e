//! The table of failures in `docs/operations.md`: each of its rows has tests.

use super::named_tests::exists;

/// The failures of the table, in its order, and the tests that show their effects.
const TESTS: [(&str, &[&str]); 27] = [
    (
        "the database is unreachable",
        &[
            "lifecycle::database_outage::calls_are_unavailable_during_a_database_outage_and_served_after_it",
            "lifecycle::database_outage::streams_survive_a_database_outage",
            "database::postgres_faults",
        ],
    ),
    (
        "the synchronous standby is absent",
        &[
            "database::absent_standby::writes_that_wait_for_a_standby_take_no_more_connections_than_the_pool_has",
            "database::absent_standby::a_write_that_waited_for_a_standby_is_found_by_its_repetition",
        ],
    ),
    (
        "PgBouncer is down or restarted",
        &[
            "deployment::pgbouncer_outages::while_pgbouncer_is_down_calls_are_unavailable_and_the_replica_is_not_ready",
            "deployment::pgbouncer_outages::calls_work_again_after_a_restart_of_pgbouncer",
        ],
    ),
    (
        "all sessions of PgBouncer's pool are in use",
        &[
            "deployment::pgbouncer_outages::a_call_waits_for_a_session_of_pgbouncer_no_longer_than_the_database_timeout",
        ],
    ),
    (
        "the file of SQLite is deleted or replaced while the server runs",
        &[
            "database::sqlite_file::no_write_is_acknowledged_after_the_file_was_moved_away_until_it_is_back",
        ],
    ),
    (
        "the database is read-only (an old primary)",
        &["database::failover::no_connection_stays_on_a_server_that_became_read_only"],
    ),
    (
        "the primary is lost",
        &[
            "database::failover::writes_continue_on_a_promoted_standby_and_no_acknowledged_one_is_lost",
            "database::failover::without_a_primary_calls_are_unavailable_and_the_start_waits",
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "a proxy in front of the database has no server, or answers nonsense",
        &[
            "database::connect_failures::whatever_fails_while_connecting_the_database_is_unavailable",
        ],
    ),
    (
        "the database refuses the password of a running server",
        &[
            "database::connect_failures::a_password_that_is_wrong_at_runtime_is_logged_and_does_not_stop_the_server",
        ],
    ),
    (
        "the database's disk is full",
        &[
            "database::full_disk::on_a_full_disk_writes_are_refused_and_reads_work_until_there_is_space_again",
            "database::full_disk_postgres::on_a_full_disk_of_postgres_writes_are_refused_and_reads_work_until_there_is_space_again",
            "database::full_disk_postgres::a_log_of_postgres_that_cannot_grow_makes_calls_unavailable_and_loses_no_write",
            "database::transaction_errors::postgres_errors_are_mapped_to_status_codes",
            "database::group_commit::a_failed_commit_fails_every_write_that_shares_it",
        ],
    ),
    (
        "a replica is killed",
        &["kills::killed_servers::a_crash_loses_no_acknowledged_write_and_watchers_resume"],
    ),
    (
        "a replica hangs",
        &[
            "deployment::rolling_restart::a_load_balancer_removes_a_replica_that_hangs_until_it_answers_again",
            "deployment::health_command::an_unresponsive_server_is_not_healthy",
        ],
    ),
    (
        "the clock of a replica is wrong",
        &[
            "clocks::skewed_replicas::a_replica_with_a_wrong_clock_is_not_ready_and_says_why",
            "clocks::skewed_replicas::replicas_with_wrong_clocks_end_no_stream",
            "clocks::random_order",
            "operations::dashboards::the_alert_rules_are_valid_and_pass_their_tests",
        ],
    ),
    (
        "the database's clock is wrong",
        &[
            "clocks::wrong_database_clock::no_replica_is_ready_and_nothing_expires_until_the_clocks_agree",
        ],
    ),
    (
        "the clock of a server with SQLite jumps",
        &[
            "clocks::sqlite::on_sqlite_a_server_is_ready_whatever_its_clock_shows",
            "clocks::sqlite::on_sqlite_tokens_expire_too_early_while_the_clock_is_ahead",
        ],
    ),
    (
        "a media server disappears",
        &[
            "stream::heartbeat_timeout::a_stream_without_heartbeats_ends_at_its_last_seen_time",
            "stream::node_restarts",
        ],
    ),
    (
        "a relay worker disappears",
        &["relay::leases::a_relay_of_a_dead_worker_is_reassigned_with_its_attempt_count"],
    ),
    (
        "an edge stops",
        &[
            "edge::publishing::a_restarted_edge_resumes_live_publishers",
            "edge::relay_processes::a_killed_edge_leaves_no_process_and_the_next_edge_takes_over",
        ],
    ),
    (
        "an edge cannot reach the control plane",
        &[
            "edge::publishing::without_the_control_plane_live_publishers_continue_and_new_ones_are_refused",
            "edge::publishing::after_the_outage_grace_live_publishers_are_disconnected",
            "edge::relay_outages",
        ],
    ),
    (
        "the mail server is unreachable",
        &[
            "auth::mail_smtp::a_message_is_sent_after_an_outage_of_the_mail_server",
            "auth::mail_smtp::a_rejected_message_is_retried_for_a_day_and_then_dropped",
        ],
    ),
    (
        "the endpoint of a webhook is unreachable or slow",
        &[
            "webhooks::delivery::a_hung_endpoint_does_not_delay_others",
            "webhooks::retries::a_failed_message_is_sent_again_with_the_same_id_before_the_next_one",
            "webhooks::retries::a_webhook_is_disabled_with_an_audit_event_after_the_retry_period",
        ],
    ),
    (
        "an OpenID Connect issuer is unreachable",
        &[
            "auth::id_token_key_cache::cached_keys_work_for_a_day_during_an_issuer_outage",
            "auth::id_token_key_cache::an_issuer_outage_is_unavailable_and_not_an_invalid_token",
        ],
    ),
    (
        "the certificate has expired",
        &[
            "transport::tls::with_an_expired_certificate_connections_fail_until_its_files_are_replaced",
            "transport::tls::a_new_certificate_is_loaded_without_a_failed_call",
        ],
    ),
    (
        "a key is missing",
        &["lifecycle::missing_sealing_keys::a_server_without_a_required_key_does_not_start"],
    ),
    (
        "a second server is started on a SQLite file",
        &["lifecycle::startup::a_file_of_sqlite_has_one_server_however_many_are_started"],
    ),
    (
        "notifications between replicas are lost",
        &["stream::watch_replicas::without_notifications_changes_arrive_within_the_poll_interval"],
    ),
    (
        "NATS is down, hangs, refuses the login or loses messages",
        &[
            "nats::outages::changes_arrive_once_and_within_the_poll_interval_while_nats_is_killed_and_hangs",
            "nats::settings::a_server_starts_without_nats_and_connects_once_it_is_there",
            "nats::settings::wrong_credentials_leave_a_server_without_nats_and_are_not_shown",
        ],
    ),
];

/// The failures of the table.
fn failures() -> Vec<&'static str> {
    let page = include_str!("../../../docs/operations.md");
    let (_, table) = page
        .split_once("| failure | effect for callers | action |\n|---|---|---|\n")
        .unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').nth(1).unwrap().trim())
        .collect()
}

#[test]
fn every_failure_of_the_table_has_tests() {
    assert_eq!(TESTS.map(|(failure, _)| failure).as_slice(), failures());

    for (failure, tests) in TESTS {
        assert!(!tests.is_empty(), "{failure}");
        for name in tests {
            assert!(exists(name), "{failure}: there is no {name}");
        }
    }
}
