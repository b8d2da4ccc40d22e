use super::page::Promise;

pub const ADVICE: [&str; 16] = [
    "How to install Sluice, size it",
    "[scaling.md](scaling.md) has the arithmetic",
    "These figures are from one run of `make bench`",
    "GetProject, 64 connections",
    "1,000 users without a pause",
    "CreateProject, 64 connections",
    "GetProject while 16 users",
    "Changes of destinations, at full load",
    "The same at three times that load",
    "5,000 idle connections",
    "Maintenance stays at the database because",
    "Use node-bound keys, suspensions and draining only once",
    "Read the changelog. Back up",
    "Litestream copies each change",
    "A dump contains nothing that was written after it.",
    "Test the restore before you need it.",
];

pub const PROMISES: [Promise; 134] = [
    (
        "container",
        &["deployment::container_image::the_image_serves_reports_healthy_and_stops"],
    ),
    (
        "Kubernetes",
        &[
            "deployment::manifests::the_manifests_are_valid_for_kubernetes",
            "deployment::manifests::the_program_accepts_the_settings_of_every_file",
        ],
    ),
    (
        "Docker Compose",
        &[
            "deployment::compose::the_services_are_built_from_this_repository_or_are_pinned_images",
            "deployment::compose::the_programs_accept_their_settings",
            "deployment::compose::haproxy_accepts_its_configuration_with_the_replicas",
            "deployment::compose::prometheus_accepts_its_configuration_which_scrapes_every_operations_port",
        ],
    ),
    (
        "systemd",
        &[
            "deployment::systemd_unit::the_unit_passes_credentials_to_the_program",
            "deployment::systemd_unit::systemd_verifies_the_unit_and_rates_its_exposure_low",
        ],
    ),
    (
        "The image has no shell and runs as user 65532.",
        &[
            "deployment::container_image::the_image_runs_as_a_numeric_non_root_user",
            "deployment::health_command::a_serving_server_is_healthy",
            "deployment::health_command::over_tls_only_a_server_with_a_trusted_certificate_is_healthy",
        ],
    ),
    (
        "With `SLUICE_ENV=production` no secret is generated",
        &["lifecycle::startup::in_production_no_secret_is_generated"],
    ),
    (
        "All replicas need the same secrets.",
        &[
            "auth::refresh_tokens::a_session_survives_a_restart_and_continues_on_a_replica",
            "auth::sealer::tests::a_sealed_value_opens_also_after_the_root_key_changed",
        ],
    ),
    (
        "**SQLite or PostgreSQL.**",
        &[
            "kills::killed_servers::a_crash_loses_no_acknowledged_write_and_watchers_resume",
            "lifecycle::startup::a_file_of_sqlite_has_one_server_however_many_are_started",
        ],
    ),
    (
        "**Processors.**",
        &[
            "auth::sign_in::a_full_password_queue_refuses_sign_ins",
            "auth::password_queue::one_address_cannot_keep_others_from_signing_in",
        ],
    ),
    (
        "**Connections to PostgreSQL.**",
        &[
            "database::absent_standby::writes_that_wait_for_a_standby_take_no_more_connections_than_the_pool_has",
            "database::pool_permits::tests::writes_leave_a_quarter_and_reads_of_a_requester_take_one",
        ],
    ),
    (
        "**Watches.**",
        &[
            "stream::watch_projects_refusals::a_watch_counts_once_for_each_started_hundred_projects",
            "stream::watch_fan_out::the_number_of_statements_does_not_grow_with_the_number_of_watches",
        ],
    ),
    (
        "**Health of the media.**",
        &[
            "relay::media_health::media_beyond_the_limits_of_a_platform_is_an_issue_of_its_relay_until_it_is_within",
            "relay::statement_count::reporting_500_relays_takes_as_many_statements_as_reporting_one",
            "stream::list_stream_samples::a_live_stream_with_statistics_is_sampled_at_multiples_of_ten_seconds",
            "relay::check_destination::an_edge_at_another_replica_checks",
        ],
    ),
    (
        "**Relay workers.**",
        &[
            "database::query_plans::a_claim_looks_up_the_unclaimed_relays_of_the_live_streams_of_its_media_server",
            "relay::worker_leases::a_report_of_all_relays_shows_bytes_at_once_and_writes_them_every_30_seconds",
            "relay::worker_leases::dropped_packets_are_written_at_once",
            "relay::worker_leases::reports_may_reach_any_server",
            "relay::worker_leases::reports_and_syncs_are_hot_updates",
            "stream::heartbeat_timeout::heartbeats_are_hot_updates",
        ],
    ),
    (
        "**Capacity of workers.**",
        &[
            "relay::capacity::a_relay_for_which_its_worker_has_no_room_has_an_issue_until_there_is_room",
            "operations::metrics::relays_that_no_worker_takes_are_counted",
        ],
    ),
    (
        "**Jobs.**",
        &[
            "lifecycle::leaders::a_job_has_another_leader_after_its_leader_was_killed",
            "lifecycle::leaders::a_job_has_another_leader_while_its_leader_hangs",
            "lifecycle::leaders::a_job_has_a_leader_again_after_its_session_was_ended",
        ],
    ),
    (
        "**Webhooks.**",
        &[
            "webhooks::delivery::a_hung_endpoint_does_not_delay_others",
            "webhooks::idle::while_nothing_waits_there_is_one_statement_for_each_poll",
        ],
    ),
    (
        "**Calls of a connection.**",
        &[
            "transport::call_limits::a_call_above_the_limit_of_its_connection_is_refused_at_once_with_the_reason",
            "lifecycle::invalid_settings::an_invalid_setting_stops_the_start_with_an_error_that_names_it",
        ],
    ),
    (
        "**Open files.**",
        &["deployment::systemd_unit::the_unit_allows_the_documented_number_of_open_files"],
    ),
    (
        "**Usage.**",
        &[
            "usage::recording::replicas_that_record_at_once_count_once",
            "usage::recording::delivered_bytes_count_once_whatever_is_repeated_late_or_foreign",
            "usage::outages::usage_of_the_time_in_which_no_server_ran_is_recorded_later",
        ],
    ),
    (
        "**Disk.**",
        &[
            "lifecycle::purge::ended_streams_and_their_relays_are_purged_after_their_retention",
            "lifecycle::purge::only_rows_past_their_retention_are_purged",
            "stream::list_stream_samples::samples_of_the_last_day_survive_a_purge_and_a_deleted_project_loses_its_samples",
            "auth::delete_me::an_account_with_200_000_streams_is_deleted_at_once_while_others_write",
        ],
    ),
    (
        "Replicas decide by one clock",
        &[
            "clocks::skewed_replicas::a_replica_with_a_wrong_clock_is_not_ready_and_says_why",
            "clocks::skewed_replicas::replicas_with_wrong_clocks_end_no_stream",
            "clocks::wrong_database_clock::no_replica_is_ready_and_nothing_expires_until_the_clocks_agree",
            "clocks::skewed_replicas::a_difference_of_a_second_is_tolerated",
        ],
    ),
    (
        "Servers, edges and commands may share one environment",
        &[
            "lifecycle::setting_sources::variables_of_orchestrators_tests_and_other_commands_are_not_reported",
            "lifecycle::setting_sources::flags_come_before_the_environment_the_file_and_the_default",
        ],
    ),
    (
        "It prints every setting in effect with its source",
        &[
            "lifecycle::check_command::no_secret_is_shown",
            "lifecycle::setting_sources::flags_come_before_the_environment_the_file_and_the_default",
        ],
    ),
    (
        "It reports whether the data directory",
        &[
            "lifecycle::check_command::everything_that_would_fail_is_reported_at_once",
            "lifecycle::check_command::what_would_serve_passes_and_is_not_changed",
            "lifecycle::check_command::a_first_start_is_announced_and_nothing_is_created",
        ],
    ),
    (
        "Exit code 0: a server would serve.",
        &[
            "lifecycle::check_command::what_would_serve_passes_and_is_not_changed",
            "lifecycle::check_command::an_unreachable_database_fails",
            "lifecycle::setting_sources::an_unknown_variable_is_reported_with_the_closest_name",
        ],
    ),
    (
        "While a server runs with the same settings",
        &[
            "lifecycle::check_command::a_running_server_has_its_file_of_sqlite_for_itself",
            "lifecycle::setting_sources::variables_of_orchestrators_tests_and_other_commands_are_not_reported",
        ],
    ),
    (
        "The maintenance commands of `sluice admin`",
        &[
            "lifecycle::admin_database::beside_a_server_with_another_data_directory_they_fail_and_create_nothing",
            "lifecycle::admin_database::an_outdated_schema_is_not_migrated",
            "lifecycle::admin_database::no_key_is_generated",
            "lifecycle::admin_database::the_setting_that_names_the_database_is_named",
        ],
    ),
    (
        "`sluice health` checks every address",
        &[
            "transport::unix_socket_clients::the_health_command_asks_at_every_address",
            "deployment::health_command::with_the_tls_settings_of_the_server_it_is_healthy",
            "deployment::health_command::a_server_that_has_the_certificate_without_its_key_is_not_believed",
            "deployment::health_command::a_server_that_requires_client_certificates_is_asked_with_one",
        ],
    ),
    (
        "`SLUICE_LISTEN=127.0.0.1:50051,unix:",
        &[
            "transport::unix_sockets::a_server_serves_a_port_and_a_unix_socket_for_its_user_and_group",
            "transport::unix_socket_clients::users_and_operators_call_over_the_socket",
            "transport::unix_socket_clients::grpcurl_calls_over_the_socket",
            "transport::unix_socket_clients::python_calls_over_the_socket",
        ],
    ),
    (
        "**The file decides who connects.**",
        &[
            "transport::unix_sockets::a_server_serves_a_port_and_a_unix_socket_for_its_user_and_group",
        ],
    ),
    (
        "**The path** is absolute",
        &[
            "transport::unix_sockets::the_socket_of_a_killed_server_is_replaced",
            "transport::unix_sockets::a_path_that_cannot_be_used_is_an_error_that_names_the_setting",
            "transport::unix_sockets::a_path_that_is_too_long_is_an_error_that_names_the_setting",
        ],
    ),
    (
        "**It is always plain**",
        &["transport::unix_sockets::the_socket_is_plain_beside_tls"],
    ),
    (
        "**Its peers have no address.**",
        &[
            "transport::unix_sockets::all_peers_of_the_socket_share_the_limits_of_one_address",
            "transport::unix_sockets::connections_of_the_socket_are_counted_as_those_of_one_address",
            "transport::unix_sockets::a_peer_of_the_socket_has_no_address_unless_it_is_a_trusted_proxy",
        ],
    ),
    (
        "gRPC sends many calls over one connection.",
        &[
            "deployment::rolling_restart::a_load_balancer_removes_a_replica_that_hangs_until_it_answers_again",
            "deployment::rolling_restart::nginx_forwards_calls_and_watches_with_the_address_of_the_caller",
        ],
    ),
    (
        "**Repeat only calls that no replica has seen.**",
        &[
            "deployment::rolling_restart::a_rolling_restart_fails_no_call_and_loses_no_event",
            "clients::service_config::only_calls_that_can_be_repeated_are_retried_and_only_when_unavailable",
        ],
    ),
    (
        "**Answer UNAVAILABLE as a gRPC status",
        &[
            "deployment::rolling_restart::without_replicas_a_load_balancer_answers_with_grpc_status_unavailable",
        ],
    ),
    (
        "**Time out later than watches are silent.**",
        &["stream::watch_project::an_idle_watch_sends_heartbeats_with_the_latest_revision"],
    ),
    (
        "**Forward the callers' addresses.**",
        &[
            "contract::x_forwarded_for::the_client_address_from_a_trusted_proxy_is_recorded",
            "contract::rate_limits::addresses_behind_a_trusted_proxy_do_not_share_a_limit",
            "contract::rate_limits::x_forwarded_for_of_an_untrusted_peer_is_ignored",
        ],
    ),
    (
        "TLS is terminated by the proxy, or by Sluice",
        &[
            "transport::tls::with_a_certificate_only_tls_connections_are_accepted",
            "transport::tls::a_new_certificate_is_loaded_without_a_failed_call",
        ],
    ),
    (
        "As a client (of issuers, mail servers",
        &[
            "transport::platform_certificates::keys_are_fetched_from_an_issuer_that_the_platform_trusts",
            "transport::platform_certificates::a_directory_of_authorities_replaces_those_of_the_platform",
            "transport::platform_certificates::mail_is_sent_to_a_server_that_the_platform_trusts",
            "transport::platform_certificates::traces_are_sent_over_tls_to_a_collector_that_the_platform_trusts",
            "transport::platform_certificates::an_edge_calls_a_control_plane_that_the_platform_trusts",
            "transport::platform_certificates::without_authorities_a_server_that_needs_them_does_not_start_and_says_what_to_do",
        ],
    ),
    (
        "**PgBouncer**, from version 1.18",
        &[
            "deployment::pgbouncer::accounts_publishing_watches_relays_and_key_rotation_work_at_the_same_time",
        ],
    ),
    (
        "`SLUICE_DB_POOLER`",
        &[
            "deployment::pgbouncer::accounts_publishing_watches_relays_and_key_rotation_work_at_the_same_time",
        ],
    ),
    (
        "server connections needed",
        &[
            "deployment::pgbouncer::accounts_publishing_watches_relays_and_key_rotation_work_at_the_same_time",
        ],
    ),
    (
        "time limits that PostgreSQL enforces",
        &["deployment::pgbouncer::the_time_limits_of_the_server_hold"],
    ),
    (
        "prepared statements",
        &[
            "deployment::pgbouncer::accounts_publishing_watches_relays_and_key_rotation_work_at_the_same_time",
        ],
    ),
    (
        "a statement outside a transaction",
        &[
            "deployment::pgbouncer::in_transaction_mode_the_sessions_of_other_clients_keep_their_settings",
        ],
    ),
    (
        "a statement that was given up",
        &[
            "database::absent_standby::writes_that_wait_for_a_standby_take_no_more_connections_than_the_pool_has",
        ],
    ),
    (
        "changes by other replicas",
        &[
            "deployment::pgbouncer::in_session_mode_replicas_listen",
            "deployment::pgbouncer::in_transaction_mode_replicas_poll_and_say_so_once",
        ],
    ),
    (
        "migrations, maintenance with",
        &[
            "deployment::pgbouncer::in_transaction_mode_servers_that_start_at_once_migrate_one_empty_database",
            "deployment::pgbouncer::a_copy_needs_the_server_itself",
        ],
    ),
    (
        "A start that notices a pooler in transaction mode",
        &[
            "deployment::pgbouncer::an_undeclared_pooler_in_transaction_mode_stops_the_start",
            "deployment::pgbouncer_outages::a_call_waits_for_a_session_of_pgbouncer_no_longer_than_the_database_timeout",
        ],
    ),
    (
        "**Several servers.**",
        &[
            "database::failover::every_connection_passes_over_a_standby",
            "database::postgres_connector::tests::a_server_that_does_not_answer_leaves_an_equal_share_of_the_time_to_the_others",
        ],
    ),
    (
        "`primary`, the default",
        &[
            "database::failover::every_connection_passes_over_a_standby",
            "database::failover::without_a_primary_calls_are_unavailable_and_the_start_waits",
        ],
    ),
    (
        "`read-write`",
        &["database::failover::no_connection_stays_on_a_server_that_became_read_only"],
    ),
    (
        "`any`",
        &["database::failover::with_any_a_standby_serves_reads_and_refuses_writes"],
    ),
    (
        "Values for standbys are refused",
        &[
            "lifecycle::invalid_settings::an_invalid_setting_stops_the_start_with_an_error_that_names_it",
            "database::failover::no_connection_stays_on_a_server_that_became_read_only",
            "database::failover::writes_continue_on_a_promoted_standby_and_no_acknowledged_one_is_lost",
        ],
    ),
    (
        "**A start without its database.**",
        &[
            "lifecycle::database_start_errors::a_server_that_waits_for_its_database_says_so_once_in_a_while",
            "lifecycle::database_start_errors::a_wrong_password_names_its_setting_and_is_not_shown",
            "lifecycle::database_start_errors::a_database_that_does_not_exist_is_named",
            "lifecycle::database_start_errors::a_user_who_may_not_create_tables_is_told_so",
            "lifecycle::database_start_errors::a_server_without_tls_names_sslmode",
            "lifecycle::database_start_errors::a_damaged_sqlite_file_is_named",
            "lifecycle::database_start_errors::a_database_of_a_later_version_is_refused",
            "lifecycle::database_outage::a_server_started_before_its_database_serves_once_it_is_reachable",
            "database::connect_failures::a_password_that_is_wrong_at_runtime_is_logged_and_does_not_stop_the_server",
        ],
    ),
    (
        "[`deploy/patroni`](../deploy/patroni) has the files",
        &[
            "high_availability::deploy_files::haproxy_accepts_its_configuration_without_warnings",
            "high_availability::deploy_files::the_files_contain_no_password",
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "**A commit is acknowledged once two machines",
        &[
            "high_availability::deploy_files::a_commit_waits_for_a_second_machine_even_if_none_is_left",
            "database::absent_standby::writes_that_wait_for_a_standby_take_no_more_connections_than_the_pool_has",
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "**When the primary is lost**",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
            "high_availability::deploy_files::a_primary_without_etcd_stops_before_its_lock_ends",
        ],
    ),
    (
        "**Live streams and relays continue.**",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "**A replica finds the primary**",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "`SLUICE_TEST_FAILOVERS=20",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "Patroni and PostgreSQL are killed",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "all processes of the machine are frozen",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "the machine is cut off from etcd",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "`patronictl switchover`",
        &[
            "high_availability::failovers::a_lost_primary_loses_no_write_and_ends_no_stream_or_relay",
        ],
    ),
    (
        "NOTIFY of PostgreSQL tells every replica",
        &["nats::watches::a_replica_hears_only_of_the_projects_that_are_watched_there"],
    ),
    (
        "`sluice.v1.projects.<id>`",
        &[
            "nats::watches::a_replica_hears_only_of_the_projects_that_are_watched_there",
            "nats::claims::a_replica_hears_of_what_its_workers_can_claim_and_of_the_projects_of_their_relays",
        ],
    ),
    (
        "`sluice.v1.nodes.<id>`",
        &[
            "nats::claims::a_replica_hears_of_what_its_workers_can_claim_and_of_the_projects_of_their_relays",
        ],
    ),
    (
        "In the ids of media servers",
        &[
            "nats::topic::tests::a_topic_is_read_from_its_subject",
            "nats::claims::a_replica_with_a_worker_of_any_media_server_hears_of_all",
            "nats::notifications::tests::beyond_a_number_of_projects_one_subject_stands_for_all",
        ],
    ),
    (
        "Messages are empty",
        &[
            "nats::strangers::messages_of_strangers_are_ignored_or_cause_reads",
            "nats::outages::changes_arrive_once_and_within_the_poll_interval_while_nats_is_killed_and_hangs",
            "nats::outages::calls_do_not_wait_for_a_server_that_hangs",
            "nats::settings::a_server_starts_without_nats_and_connects_once_it_is_there",
        ],
    ),
    (
        "The user of the replicas needs these permissions",
        &[
            "nats::settings::wrong_credentials_leave_a_server_without_nats_and_are_not_shown",
            "nats::settings::a_missing_permission_is_logged",
        ],
    ),
    (
        "**Login.**",
        &[
            "nats::settings::wrong_credentials_leave_a_server_without_nats_and_are_not_shown",
            "nats::settings::a_file_has_the_credentials_and_is_read_again_for_each_connection",
            "nats::connection::tests::a_file_has_the_credentials_of_a_user_or_the_seed_of_an_nkey",
        ],
    ),
    (
        "**TLS.**",
        &["nats::settings::over_tls_only_a_server_with_a_trusted_certificate_is_used"],
    ),
    (
        "**LISTEN and NOTIFY** go on",
        &[
            "nats::watches::replicas_with_and_without_nats_hear_of_each_other_through_the_database",
            "nats::watches::changes_on_one_replica_reach_watchers_of_the_other_at_once",
        ],
    ),
    (
        "**Metrics.** `sluice_nats_connected`",
        &[
            "nats::strangers::messages_of_strangers_are_ignored_or_cause_reads",
            "nats::settings::a_server_starts_without_nats_and_connects_once_it_is_there",
        ],
    ),
    (
        "**Check.**",
        &[
            "nats::settings::a_file_has_the_credentials_and_is_read_again_for_each_connection",
            "nats::settings::wrong_credentials_leave_a_server_without_nats_and_are_not_shown",
        ],
    ),
    (
        "`SLUICE_OPERATIONS_LISTEN` (port 9464) serves",
        &[
            "operations::metrics::metrics_of_process_pool_jobs_and_streams_are_exported",
            "operations::probes::a_serving_program_is_live_and_ready",
            "operations::log_filter::the_log_filter_can_be_read_and_changed_at_run_time",
        ],
    ),
    (
        "`sluice_connections_refused_total` says by cause",
        &[
            "operations::overload_metrics::connections_that_are_anonymous_unused_or_misused_are_counted_by_their_cause",
            "operations::overload_metrics::a_response_that_is_not_read_and_its_closed_connection_are_counted",
        ],
    ),
    (
        "The log is JSON, except on a terminal",
        &[
            "lifecycle::call_log::every_line_is_one_json_object_whatever_the_caller_sends",
            "lifecycle::call_log::successful_calls_are_logged_in_development_and_refused_ones_always",
            "lifecycle::call_log::a_slow_successful_call_is_logged_as_slow",
            "lifecycle::log_files::a_rotated_log_keeps_a_number_of_files_and_nothing_else_is_deleted",
            "lifecycle::logs::with_rust_backtrace_an_internal_error_is_logged_with_its_backtrace",
        ],
    ),
    (
        "[`deploy/grafana`](../deploy/grafana) has a dashboard",
        &[
            "operations::dashboards::the_dashboard_and_the_alert_rules_use_only_existing_metrics_and_labels",
            "operations::dashboards::the_alert_rules_are_valid_and_pass_their_tests",
            "operations::dashboards::the_scrape_configuration_is_valid_and_has_the_jobs_of_the_alert_rules",
            "operations::metrics::statements_of_the_database_are_timed_by_their_kind",
            "operations::traces::log_lines_of_a_sampled_call_have_the_ids_of_its_trace_and_span",
            "operations::traces::the_log_is_sent_to_the_collector_with_the_fields_and_the_trace_of_each_call",
            "operations::traces::the_resource_of_traces_follows_the_variables_of_opentelemetry",
        ],
    ),
    (
        "Operators call `OperatorService` with",
        &["operator::admin_commands::the_operator_key_can_be_in_a_file"],
    ),
    (
        "`create-operator-key`, `list-operator-keys`",
        &["operator::admin_commands::an_operator_creates_lists_and_revokes_keys"],
    ),
    (
        "`list-users`, `get-user`",
        &["operator::admin_commands::an_operator_suspends_and_resumes_a_user"],
    ),
    (
        "`list-organizations`, `suspend-organization`",
        &["operator::admin_commands::an_operator_suspends_and_resumes_an_organization"],
    ),
    (
        "`get-quota`, `set-quota`",
        &["operator::admin_commands::an_operator_changes_single_limits_of_a_quota"],
    ),
    (
        "`list-nodes`, `list-workers`",
        &["operator::admin_commands::an_operator_lists_nodes_workers_and_live_streams"],
    ),
    (
        "`drain-node`, `resume-node`",
        &[
            "operator::drain_node::a_node_drains_until_it_is_resumed_and_each_change_is_audited_once",
            "operator::admin_commands::json_is_the_response_of_the_api_in_one_document",
        ],
    ),
    (
        "`list-audit-events`",
        &["operator::audit_events::a_list_of_audit_events_is_filtered_by_user_action_and_time"],
    ),
    (
        "`create-api-key`",
        &["operator::first_key::keys_are_created_at_the_database_until_there_is_an_operator"],
    ),
    (
        "`end-sessions`, `remove-second-factors`, `rotate-signing-key`",
        &[
            "lifecycle::admin_end_sessions::an_operator_ends_the_sessions_of_one_user",
            "lifecycle::admin_remove_second_factors::an_operator_removes_the_second_factors_of_a_user_who_has_lost_them",
            "auth::signing_key_rotation::a_new_key_takes_over_on_all_replicas_and_no_call_fails",
            "lifecycle::sealing_key_rotation::a_rotation_reseals_all_secrets_and_no_call_fails",
            "deployment::admin_copy::after_a_copy_all_sessions_streams_and_relays_continue",
        ],
    ),
    (
        "Commands print tables or lines",
        &[
            "operator::admin_commands::json_is_the_response_of_the_api_in_one_document",
            "operator::admin_commands::a_list_prints_all_pages_up_to_its_limit",
            "operator::admin_commands::an_error_names_the_setting_or_the_argument_and_the_remedy",
            "operator::admin_commands::a_server_that_cannot_be_reached_is_named",
            "operator::first_key::keys_are_created_at_the_database_until_there_is_an_operator",
        ],
    ),
    (
        "**The first key.**",
        &[
            "operator::first_key::keys_are_created_at_the_database_until_there_is_an_operator",
            "operator::first_key::a_revoked_or_expired_operator_does_not_count",
            "operator::first_key::a_key_of_the_database_has_no_creator_and_is_audited",
        ],
    ),
    (
        "Give each operator and each media server a key",
        &["operator::keys::an_expired_key_is_refused"],
    ),
    (
        "**A key that is bound to a node**",
        &[
            "operator::bound_keys::a_bound_key_reports_for_no_other_node_and_touches_nothing",
            "operator::bound_keys::a_worker_with_a_bound_key_gets_the_relays_of_its_node_only",
            "operator::bound_keys::a_bound_key_cannot_act_for_a_worker_of_another_node",
        ],
    ),
    (
        "**When a key has leaked**",
        &[
            "operator::keys::a_revoked_key_is_refused_everywhere_and_its_claims_end",
            "relay::leases::a_relay_of_a_dead_worker_is_reassigned_with_its_attempt_count",
        ],
    ),
    (
        "`--include-created` revokes also",
        &[
            "operator::keys::the_keys_that_a_leaked_key_created_are_revoked_with_it",
            "operator::audit_events::the_log_still_names_a_revoked_key",
        ],
    ),
    (
        "**Suspension** (`suspend-user`) ends",
        &[
            "operator::suspension::sessions_and_api_keys_of_a_suspended_user_end_on_every_replica",
            "operator::suspension::streams_and_relays_of_a_suspended_user_end_and_new_publishers_are_refused",
            "operator::suspension::a_suspended_user_cannot_sign_in_even_with_the_correct_password",
            "operator::suspension::a_resumed_user_signs_in_and_publishes_again_but_ended_sessions_stay_ended",
            "operations::metrics::suspended_users_and_their_refused_publishers_are_counted",
        ],
    ),
    (
        "**Suspension of an organization** (`suspend-organization`) refuses",
        &[
            "operator::organizations::calls_of_members_and_keys_in_a_suspended_organization_are_refused",
            "operator::organizations::watches_and_streams_of_a_suspended_organization_end_on_every_replica",
            "operator::organizations::webhooks_of_a_suspended_organization_get_its_events_when_it_is_resumed",
        ],
    ),
    (
        "**Draining a node** (`drain-node`)",
        &[
            "relay::moves::where_the_destination_permits_it_the_next_worker_starts_before_the_first_one_stops",
            "relay::moves::elsewhere_the_next_worker_starts_immediately_after_the_first_one_has_stopped",
        ],
    ),
    (
        "What cannot move stays",
        &[
            "relay::moves::only_as_many_relays_move_as_other_workers_have_room_for",
            "relay::moves::the_relays_of_a_stream_that_cannot_be_read_elsewhere_stay",
            "relay::moves::while_a_node_drains_its_workers_claim_only_what_others_leave",
        ],
    ),
    (
        "A replica holds nothing for a peer without a limit.",
        &[
            "requests::overload::a_call_over_the_limit_is_refused_and_earlier_ones_are_answered",
            "transport::call_limits::a_call_above_the_limit_of_its_connection_is_refused_at_once_with_the_reason",
        ],
    ),
    (
        "calls that run",
        &["requests::overload::a_call_over_the_limit_is_refused_and_earlier_ones_are_answered"],
    ),
    (
        "calls, also idle streams",
        &[
            "transport::call_limits::the_watch_above_the_limit_of_a_user_is_refused_on_a_connection_with_all_others",
        ],
    ),
    (
        "requests whose message has not arrived",
        &[
            "requests::incomplete_requests::one_address_leaves_at_most_an_eighth_of_all_requests_incomplete",
            "requests::overload::incomplete_requests_are_limited_and_release_their_permits_when_cancelled",
        ],
    ),
    (
        "health watches and reflection streams",
        &[
            "requests::streams_without_caller::a_connection_has_at_most_sixteen_streams_without_a_caller",
            "requests::streams_without_caller::an_address_has_an_eighth_of_the_streams_without_a_caller",
        ],
    ),
    (
        "memory of requests and of responses",
        &[
            "requests::response_memory::responses_that_are_not_read_use_at_most_the_memory_of_their_user",
            "requests::response_memory::responses_that_are_not_read_use_at_most_the_memory_of_their_connection",
        ],
    ),
    (
        "passwords that wait for hashing",
        &["auth::password_hasher::tests::an_address_has_an_eighth_of_the_queue"],
    ),
    (
        "connections",
        &[
            "transport::connection_limits::connections_over_the_limit_are_closed_at_once_until_others_end",
        ],
    ),
    (
        "connections on which no call has had",
        &[
            "transport::connection_limits::a_connection_with_a_valid_token_makes_room_for_an_anonymous_one",
        ],
    ),
    (
        "new connections that are served",
        &[
            "transport::connection_limits::connections_of_an_address_that_opens_them_too_fast_wait_for_their_turn_or_are_refused",
            "transport::connection_pace::tests::a_burst_is_served_at_once_and_further_connections_one_by_one",
        ],
    ),
    (
        "**A request has 10 s to arrive**",
        &[
            "requests::incomplete_requests::a_request_of_any_rpc_must_arrive_within_ten_seconds",
            "requests::incomplete_requests::connections_with_incomplete_requests_are_closed_within_15_seconds_and_keep_nobody_out",
            "requests::deadlines::an_incomplete_request_times_out",
        ],
    ),
    (
        "**A response has to be read**",
        &[
            "transport::unread_responses::a_response_of_any_type_that_is_not_read_closes_its_connection_within_fifteen_seconds",
            "layers::admission::budget::tests::a_new_holder_leaves_the_headroom_of_each_share_to_earlier_ones",
        ],
    ),
    (
        "**New connections of an address are paced.**",
        &[
            "transport::connection_limits::connections_of_an_address_that_opens_them_too_fast_wait_for_their_turn_or_are_refused",
            "transport::connection_limits::a_connection_with_a_valid_token_makes_room_for_an_anonymous_one",
            "transport::connection_pace::tests::the_burst_comes_back_with_time",
        ],
    ),
    (
        "**A connection on which no call has succeeded**",
        &[
            "transport::connection_timeouts::a_connection_on_which_no_call_succeeds_is_closed_early",
            "transport::connection_timeouts::a_connection_on_which_a_call_has_succeeded_stays_until_its_idle_timeout",
        ],
    ),
    (
        "**Users, API keys and addresses take turns**",
        &[
            "requests::overload::a_user_with_many_slow_calls_does_not_keep_others_from_the_database",
            "auth::password_hasher::tests::addresses_take_turns",
        ],
    ),
    (
        "**Loopback addresses are addresses like others**",
        &[
            "transport::connection_limits::connections_over_the_limit_are_closed_at_once_until_others_end",
            "transport::connection_limits::the_connections_of_a_trusted_proxy_are_not_counted_by_address",
        ],
    ),
    (
        "**An address is what `SLUICE_TRUSTED_PROXIES` says",
        &[
            "domain::peer_address::tests::one_peer_is_an_ipv4_address_or_an_ipv6_network",
            "requests::incomplete_requests::a_trusted_proxys_connection_stays_whatever_its_callers_leave_incomplete",
            "transport::connection_timeouts::an_unused_connection_of_a_trusted_proxy_stays",
        ],
    ),
    (
        "**Media servers and relay workers have the last eighth**",
        &[
            "requests::incomplete_requests::the_last_eighth_is_only_for_verified_tokens_of_machines",
            "requests::overload::media_servers_are_served_while_others_are_refused",
            "transport::connection_limits::an_address_where_a_media_server_has_authenticated_may_open_any_number_at_any_pace",
            "transport::connection_limits::tests::the_last_eighth_is_for_addresses_where_a_machine_has_authenticated_and_for_proxies",
            "contract::rate_limits::operator_keys_are_not_limited",
        ],
    ),
    (
        "**A reflection stream** ends",
        &[
            "requests::streams_without_caller::a_reflection_stream_without_messages_ends_after_a_minute",
        ],
    ),
    (
        "**Health stays SERVING and",
        &[
            "requests::overload::health_checks_are_answered_while_others_are_refused",
            "operations::overload_metrics::each_limit_shows_its_use_and_its_refusals_and_an_overloaded_server_stays_ready",
            "operations::dashboards::the_alert_rules_are_valid_and_pass_their_tests",
        ],
    ),
    (
        "On SIGTERM, health checks answer NOT_SERVING",
        &[
            "lifecycle::draining::while_draining_health_is_not_serving_and_calls_are_still_served",
            "lifecycle::draining::on_a_signal_the_call_in_flight_finishes_and_the_program_exits_with_success",
            "stream::watch_ends::a_draining_server_ends_its_watches_which_resume_on_another",
            "webhooks::delivery::a_server_that_stops_gives_its_webhooks_back_at_once",
            "lifecycle::draining::a_second_signal_ends_the_program_at_once",
            "deployment::manifests::there_is_time_to_drain_before_a_server_is_killed",
        ],
    ),
    (
        "Run `sluice migrate` with the new version",
        &[
            "lifecycle::startup::migrate_can_be_run_repeatedly_before_the_first_start",
            "lifecycle::startup::a_server_waits_for_the_migration_of_another_without_a_timeout",
        ],
    ),
    (
        "Restart the replicas with the new version",
        &["deployment::rolling_restart::a_rolling_restart_fails_no_call_and_loses_no_event"],
    ),
    (
        "Migrations only add, so servers",
        &[
            "database::migrations::migrations_only_add",
            "database::migrations::a_landed_migration_never_changes",
            "lifecycle::database_start_errors::a_database_of_a_later_version_is_refused",
        ],
    ),
    (
        "On Kubernetes the Job `sluice-migrate`",
        &["deployment::manifests::selectors_match_server_pods_and_not_migration_jobs"],
    ),
    (
        "Keys are rotated without a restart",
        &[
            "auth::signing_key_rotation::a_new_key_takes_over_on_all_replicas_and_no_call_fails",
            "lifecycle::sealing_key_rotation::a_rotation_reseals_all_secrets_and_no_call_fails",
        ],
    ),
    (
        "Back up the database and the keys",
        &[
            "lifecycle::missing_sealing_keys::a_server_without_a_required_key_does_not_start",
            "lifecycle::sealing_key_rotation::a_retired_key_is_kept_while_a_value_is_sealed_under_it",
        ],
    ),
    (
        "A server in development has generated its keys",
        &[
            "deployment::backup::after_a_backup_and_restore_all_sessions_streams_and_relays_continue",
        ],
    ),
    (
        "Back up SQLite while the server runs.",
        &[
            "deployment::backup::after_a_backup_and_restore_all_sessions_streams_and_relays_continue",
        ],
    ),
    (
        "Restore it while the server is stopped",
        &[
            "deployment::backup::after_a_backup_and_restore_all_sessions_streams_and_relays_continue",
        ],
    ),
    (
        "Back up PostgreSQL while servers run.",
        &[
            "deployment::backup::after_a_backup_and_restore_all_sessions_streams_and_relays_continue",
        ],
    ),
    (
        "After a restore, the database is in an earlier state",
        &[
            "stream::watch_refusals::a_future_revision_requires_a_resync",
            "lifecycle::admin_end_sessions::an_operator_ends_the_sessions_of_all_users",
        ],
    ),
    (
        "`sluice admin copy` needs the settings of the server",
        &[
            "deployment::admin_copy::after_a_copy_all_sessions_streams_and_relays_continue",
            "deployment::admin_copy::a_copy_there_and_back_preserves_every_row_of_every_table",
            "deployment::admin_copy::a_database_in_use_can_be_neither_source_nor_target",
            "deployment::admin_copy::a_failed_copy_leaves_no_rows_and_can_be_repeated",
            "deployment::admin_copy::a_target_that_is_not_empty_is_refused_and_unchanged",
            "deployment::admin_copy::a_target_that_alters_rows_is_detected",
            "deployment::admin_copy::a_missing_source_is_not_created",
        ],
    ),
];
