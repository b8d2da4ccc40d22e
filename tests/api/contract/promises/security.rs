use super::page::Promise;

pub const ADVICE: [&str; 6] = [
    "What Sluice protects, how, and",
    "Sluice has its own gRPC listener",
    "**accounts**",
    "**tenants**",
    "**stream keys**",
    "**destination keys**",
];

pub const PROMISES: [Promise; 58] = [
    (
        "It protects them against callers, readers of its logs",
        &[
            "contract::tenant_isolation::every_rpc_treats_the_id_of_another_tenant_like_an_unknown_id",
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
            "transport::tls::with_a_certificate_only_tls_connections_are_accepted",
        ],
    ),
    (
        "Every call passes one interceptor.",
        &[
            "contract::authorization::every_rpc_that_is_not_public_refuses_a_call_without_a_token",
            "contract::rate_limits::only_calls_without_a_valid_token_count_for_their_address",
            "auth::api_key_scopes::every_rpc_requires_each_of_its_scopes_and_accepts_no_other",
            "contract::tenant_isolation::every_rpc_treats_the_id_of_another_tenant_like_an_unknown_id",
            "organization::members::each_role_does_what_its_scopes_allow_and_no_more",
            "organization::members::a_removed_member_is_refused_with_the_next_call",
            "organization::watches::the_watches_of_a_removed_member_end_on_every_replica",
            "stream::watch_ends::a_watch_ends_when_its_token_expires",
            "stream::watch_ends::a_watch_ends_with_its_session",
            "relay::claim_relays::a_claim_ends_when_its_api_key_expires",
        ],
    ),
    (
        "Replicas decide by the clock of PostgreSQL.",
        &[
            "clocks::random_order::no_replaced_key_is_accepted_after_its_end_and_no_ended_token_five_seconds_later",
            "auth::sessions::a_revocation_that_commits_long_after_its_time_reaches_every_replica",
        ],
    ),
    (
        "Anyone can sign up with the address of somebody else.",
        &[
            "auth::verify_email::only_the_user_of_the_account_can_verify_its_address",
            "auth::reset_password::what_was_planted_ends_with_the_reset_although_the_owner_opened_the_verification_link",
            "auth::reset_password::a_reset_takes_the_projects_of_an_unverified_account_from_whoever_made_them",
            "auth::id_token_pre_hijacking::the_squatters_stream_keys_streams_and_destinations_stop_working",
            "auth::reset_password::after_a_reset_a_replica_gives_an_ended_session_no_key_and_takes_nothing_from_it",
        ],
    ),
    (
        "The error for a refused access token depends only on",
        &[
            "contract::access_tokens::forgery::every_rpc_refuses_every_forged_token_with_a_response_that_depends_on_its_text_only",
        ],
    ),
    (
        "A user can add authenticators",
        &[
            "auth::second_factor_sign_in::a_password_alone_starts_no_session",
            "auth::second_factor_sign_in::a_sign_in_with_an_id_token_needs_the_code_too",
            "auth::second_factor_sign_in::a_reset_password_needs_the_code_if_the_address_was_verified_before",
            "auth::second_factor_sign_in::a_code_works_once_over_all_replicas",
            "auth::second_factors::an_enrolment_needs_the_password_and_a_code_if_there_is_an_authenticator",
            "auth::second_factors::an_authenticator_counts_from_its_confirmation",
            "auth::second_factors::without_the_last_authenticator_the_password_is_enough",
        ],
    ),
    (
        "An e-mail address changes once",
        &[
            "auth::email_change::an_address_changes_once_both_addresses_have_confirmed_it",
            "auth::email_change::only_the_signed_in_user_confirms_a_change",
            "auth::email_change::each_address_can_cancel_a_change_without_signing_in",
            "auth::email_change::after_a_change_the_former_address_is_free_and_its_tokens_do_not_work",
            "auth::email_change::only_the_owner_of_the_new_mailbox_learns_that_it_has_an_account",
            "auth::email_change::of_two_users_who_change_to_one_address_one_wins",
        ],
    ),
    (
        "Calls that show or create a secret",
        &[
            "auth::recent_authentication::an_old_session_gets_no_secret_until_it_is_authenticated_again",
            "auth::recent_authentication::an_authentication_counts_for_its_own_session",
            "auth::recent_authentication::an_old_session_changes_no_webhook_until_it_is_authenticated_again",
            "auth::recent_authentication::a_user_with_a_second_factor_proves_it_also_before_changing_the_password",
            "auth::recent_authentication::an_api_key_is_limited_by_its_scopes_only",
            "auth::recent_authentication::the_access_token_of_a_session_has_the_time_of_its_authentication",
        ],
    ),
    (
        "A user with a verified address gets",
        &[
            "auth::account_notices::a_sign_in_from_a_new_network_is_told_once",
            "auth::account_notices::new_keys_second_factors_and_passwords_are_told_without_secrets",
            "auth::account_notices::an_unverified_address_gets_no_notice",
            "webhooks::retries::the_owner_is_told_of_a_disabled_webhook_without_its_url",
        ],
    ),
    (
        "An operator key with `relays:work` can obtain",
        &[
            "operator::bound_keys::a_bound_key_reports_for_no_other_node_and_touches_nothing",
            "operator::bound_keys::a_worker_with_a_bound_key_gets_the_relays_of_its_node_only",
            "operator::audit_events::every_action_of_an_operator_names_the_key_and_its_target",
            "operator::audit_events::the_log_still_names_a_revoked_key",
        ],
    ),
    (
        "password",
        &[
            "auth::password_hashes::a_raised_bcrypt_cost_applies_at_the_next_sign_in",
            "auth::sign_up::every_byte_of_a_password_counts",
            "auth::sign_up::passwords_are_compared_after_unicode_normalization",
        ],
    ),
    (
        "refresh token",
        &[
            "auth::refresh_token::tests::a_seed_verifies_only_its_own_tokens",
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
        ],
    ),
    (
        "API key, operator key",
        &[
            "auth::api_keys::no_two_keys_have_the_same_secret",
            "auth::repeated_requests::the_stored_secret_is_sealed",
            "operator::keys::the_secret_of_a_repeatable_key_is_random_and_stored_sealed",
        ],
    ),
    (
        "stream key",
        &[
            "project::key_storage::no_stream_key_is_stored_in_plain_text",
            "project::stream_keys::the_revealed_stream_key_is_the_one_given_at_creation",
            "auth::project_audit_log::every_project_action_is_recorded_once_with_its_caller_and_resource",
        ],
    ),
    (
        "destination's stream key and SRT passphrase",
        &[
            "project::key_storage::no_stream_key_is_stored_in_plain_text",
            "relay::claim_relays::the_passphrase_of_an_srt_destination_is_decrypted_for_the_worker",
            "project::create_destination::no_response_contains_the_stream_key",
        ],
    ),
    (
        "address of a stream's media",
        &[
            "relay::claim_relays::the_play_url_is_decrypted_for_the_worker",
            "stream::sync_adoptions::the_play_url_of_an_adopted_connection_is_stored_while_it_publishes",
        ],
    ),
    (
        "secret of a webhook, and the one before",
        &[
            "webhooks::signatures::the_secret_is_shown_once_and_stored_sealed",
            "webhooks::signatures::the_public_package_accepts_messages_of_either_secret_while_one_is_rotated",
            "contract::request_ids::a_repeated_request_has_one_effect_and_its_id_is_refused_with_another_request",
        ],
    ),
    (
        "token of a message",
        &["auth::mail_secrets::the_database_contains_no_message_token"],
    ),
    (
        "secret of an authenticator",
        &[
            "auth::second_factor_sign_in::an_authenticator_works_after_a_rotation_of_the_sealing_key",
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
        ],
    ),
    (
        "recovery code",
        &[
            "auth::second_factor_sign_in::each_recovery_code_works_once_in_place_of_the_authenticator",
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
        ],
    ),
    (
        "signing keys",
        &[
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
        ],
    ),
    (
        "sealing keys",
        &[
            "auth::sealer::tests::a_sealed_value_opens_also_after_the_root_key_changed",
            "lifecycle::sealing_key_rotation::a_rotation_reseals_all_secrets_and_no_call_fails",
        ],
    ),
    (
        "*Sealed* means encrypted with",
        &[
            "auth::sealer::tests::a_moved_or_changed_value_does_not_open",
            "auth::sealer::tests::sealing_a_secret_twice_gives_different_values",
            "domain::secret::tests::debug_output_is_redacted_at_any_depth",
            "contract::redaction::debug_output_redacts_every_field_that_the_contract_marks_as_secret",
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
        ],
    ),
    (
        "The session of `sluice login` is in a file",
        &[
            "client::account::only_its_user_can_read_a_profile",
            "client::account::the_tokens_of_a_profile_go_to_no_other_server",
            "client::account::a_password_needs_a_terminal_or_a_flag",
            "client::projects::a_stream_key_is_printed_only_on_request",
        ],
    ),
    (
        "access token",
        &[
            "auth::session_expiry::tokens_state_their_expiry",
            "auth::session_expiry::an_access_token_expires_with_its_session",
            "auth::api_key_exchange::an_access_token_expires_with_its_api_key",
            "auth::sessions::an_ended_sessions_access_token_is_refused_by_every_replica_within_five_seconds",
            "auth::sessions::a_revoked_keys_access_token_is_refused_by_every_replica_within_five_seconds",
        ],
    ),
    (
        "session",
        &[
            "auth::session_expiry::a_session_expires_after_the_idle_timeout",
            "auth::session_expiry::a_refresh_does_not_extend_the_session_lifetime",
            "auth::sessions::sessions_are_listed_newest_first_and_mark_the_callers",
            "auth::sessions::a_revoked_session_ends_with_its_tokens_and_the_others_continue",
        ],
    ),
    (
        "authentication of a session",
        &["auth::recent_authentication::the_age_is_a_setting_and_zero_means_any"],
    ),
    (
        "refresh token",
        &[
            "auth::refresh_tokens::a_repeated_refresh_after_a_lost_response_returns_the_same_successor",
            "auth::refresh_tokens::reuse_of_an_older_token_ends_its_session",
        ],
    ),
    (
        "wrong passwords",
        &[
            "auth::failed_attempts::each_wrong_password_lengthens_the_wait_up_to_a_minute",
            "auth::failed_attempts::attempts_from_other_addresses_do_not_delay_the_owner",
            "auth::failed_attempts::an_address_stays_familiar_for_ninety_days_after_the_last_sign_in",
            "auth::failed_attempts::two_hundred_concurrent_attempts_over_two_replicas_check_no_more_passwords_than_allowed",
        ],
    ),
    (
        "wrong codes of a second factor",
        &["auth::second_factor_sign_in::wrong_codes_delay_the_next_code_as_wrong_passwords_do"],
    ),
    (
        "second factors",
        &[
            "auth::second_factors::a_user_has_at_most_five_authenticators",
            "auth::second_factors::an_enrolment_that_was_replaced_or_is_too_old_cannot_be_confirmed",
            "auth::totp::tests::a_code_is_accepted_one_step_before_and_after_its_own_and_no_longer",
        ],
    ),
    (
        "new password",
        &[
            "domain::password::tests::guessable_passwords_are_rejected_in_any_alphabet",
            "domain::password::tests::only_the_first_32_characters_are_estimated",
            "domain::password::tests::passwords_from_the_name_or_address_are_rejected",
            "auth::breached_passwords::tests::every_line_is_found_and_nothing_else",
            "auth::breached_passwords::a_new_password_from_a_data_breach_is_refused",
        ],
    ),
    (
        "passwords hashed or estimated concurrently",
        &[
            "auth::sign_in::a_full_password_queue_refuses_sign_ins",
            "auth::password_hashes::strength_checks_of_new_passwords_use_the_password_queue",
            "auth::password_queue::one_address_cannot_keep_others_from_signing_in",
        ],
    ),
    (
        "calls",
        &[
            "contract::rate_limits::a_caller_over_the_limit_is_refused_until_the_retry_delay_is_over",
            "contract::rate_limits::a_user_and_each_of_their_api_keys_have_separate_limits",
            "contract::rate_limits::operator_keys_are_not_limited",
        ],
    ),
    (
        "message tokens",
        &[
            "auth::verify_email::a_verification_token_works_for_a_day",
            "auth::verify_email::a_verification_token_works_once",
            "auth::password_reset_tokens::a_reset_token_works_for_half_an_hour",
            "auth::password_reset_tokens::a_reset_token_works_once",
            "auth::email_change::a_request_ends_after_a_day_and_is_purged",
            "auth::email_change::a_repeated_request_keeps_tokens_and_confirmations_and_sends_nothing_within_a_minute",
            "auth::email_change::of_two_users_who_change_to_one_address_one_wins",
        ],
    ),
    (
        "notices",
        &[
            "auth::account_notices::at_most_one_notice_of_a_kind_is_sent_each_minute",
            "auth::account_notices::the_networks_of_a_user_are_bounded_and_forgotten_after_half_a_year",
        ],
    ),
    (
        "id token",
        &[
            "auth::sign_in_with_id_token::every_invalid_field_is_named",
            "auth::id_token_signatures::each_key_type_accepts_only_its_own_algorithm",
            "auth::id_token_claims::the_nonce_must_match_the_request",
        ],
    ),
    (
        "connections",
        &[
            "transport::connection_limits::connections_over_the_limit_are_closed_at_once_until_others_end",
            "transport::connection_limits::a_connection_with_a_valid_token_makes_room_for_an_anonymous_one",
            "transport::connection_limits::connections_of_an_address_that_opens_them_too_fast_wait_for_their_turn_or_are_refused",
        ],
    ),
    (
        "connection on which no call has succeeded",
        &["transport::connection_timeouts::a_connection_on_which_no_call_succeeds_is_closed_early"],
    ),
    (
        "calls of a connection",
        &[
            "transport::call_limits::a_call_above_the_limit_of_its_connection_is_refused_at_once_with_the_reason",
            "transport::call_limits::http2_announces_the_limit_to_proxies_and_twice_as_much_to_others",
        ],
    ),
    (
        "metadata of a call",
        &[
            "transport::call_limits::too_much_metadata_is_refused_with_the_reason_and_other_calls_go_on",
            "transport::grpc_web::too_much_metadata_over_http1_is_refused_with_the_reason",
            "transport::denial_of_service::an_hpack_bomb_is_refused",
            "transport::denial_of_service::a_continuation_flood_ends_the_connection",
        ],
    ),
    (
        "response",
        &[
            "transport::unread_responses::a_response_of_any_type_that_is_not_read_closes_its_connection_within_fifteen_seconds",
            "transport::unread_responses::behind_a_trusted_proxy_only_the_unread_call_ends_and_its_reader_gets_the_reason",
            "transport::unread_responses::a_slow_reader_gets_the_whole_response",
        ],
    ),
    (
        "frame, header block",
        &[
            "transport::connection_timeouts::a_connection_is_closed_if_a_frame_or_a_header_block_is_not_completed",
        ],
    ),
    (
        "HTTP/2 frames other than DATA",
        &[
            "transport::denial_of_service::a_flood_of_control_frames_ends_the_connection",
            "transport::frame_budget::tests::frames_beyond_the_budget_are_refused_until_time_has_passed",
            "transport::frame_budget::tests::a_call_earns_more_than_its_frames_cost",
        ],
    ),
    (
        "request",
        &[
            "requests::message_size::a_request_over_the_size_limit_is_refused",
            "requests::message_size::the_prefix_of_a_message_decides_whether_it_is_too_large",
            "layers::method_info::tests::requests_that_list_or_describe_things_may_be_larger",
            "requests::incomplete_requests::a_request_of_any_rpc_must_arrive_within_ten_seconds",
        ],
    ),
    (
        "incomplete requests, open health watches, memory",
        &[
            "requests::incomplete_requests::one_address_leaves_at_most_an_eighth_of_all_requests_incomplete",
            "requests::incomplete_requests::the_last_eighth_is_only_for_verified_tokens_of_machines",
            "requests::streams_without_caller::an_address_has_an_eighth_of_the_streams_without_a_caller",
            "requests::response_memory::responses_that_are_not_read_use_at_most_the_memory_of_their_user",
        ],
    ),
    (
        "watches",
        &[
            "stream::watch_refusals::watches_are_limited_and_an_ended_watch_makes_room",
            "stream::watch_projects_refusals::a_watch_counts_once_for_each_started_hundred_projects",
            "stream::watch_ends::a_watch_ends_with_its_session",
            "stream::watch_ends::an_idle_watch_ends_when_its_api_key_is_revoked",
        ],
    ),
    (
        "organizations",
        &[
            "organization::organizations::a_user_has_a_limited_number_of_organizations",
            "organization::invitations::invitations_and_members_are_limited",
            "organization::members::a_removed_member_is_refused_with_the_next_call",
            "organization::watches::the_watches_of_a_removed_member_end_on_every_replica",
            "organization::invitations::an_invitation_is_the_same_whether_or_not_the_address_has_an_account",
        ],
    ),
    (
        "destinations",
        &[
            "project::create_destination::a_project_cannot_exceed_its_destination_limit",
            "project::destination_urls::hosts_of_special_purpose_networks_are_refused",
            "outbound::tests::a_host_of_a_private_address_is_forbidden_to_tenants_only",
        ],
    ),
    (
        "webhooks",
        &[
            "webhooks::lifecycle::an_account_has_a_maximum_number_of_webhooks",
            "webhooks::targets::private_hosts_and_plain_http_are_refused_unless_they_are_allowed",
            "webhooks::targets::a_private_address_is_never_connected_to",
            "webhooks::targets::a_name_that_changes_its_address_leads_to_no_private_one",
            "webhooks::retries::a_redirect_is_a_failure_and_is_not_followed",
            "webhooks::retries::a_delivery_that_is_retried_says_why_and_when_the_next_attempt_is",
            "webhooks::delivery::the_states_of_a_stream_are_types_of_their_own",
            "webhooks::tenancy::a_key_needs_to_read_projects_and_streams_to_have_them_sent",
        ],
    ),
    (
        "checks of destinations",
        &[
            "relay::check_destination::an_account_can_check_ten_destinations_a_minute",
            "relay::check_destination::a_connected_edge_checks_a_destination_without_its_key",
            "edge::relays::tests::destination_checks::a_private_address_is_not_connected_to",
            "edge::relays::destination_check::tests::addresses_are_hidden_in_the_words_of_a_server",
        ],
    ),
    (
        "relays",
        &[
            "relay::validation::a_call_has_at_most_a_thousand_reports",
            "domain::relay_error::tests::addresses_are_redacted_to_their_scheme",
            "domain::relay_error::tests::a_message_has_at_most_512_characters",
        ],
    ),
    (
        "refused publishers",
        &[
            "stream::list_refusals::only_the_newest_hundred_refusals_are_stored",
            "stream::list_refusals::the_owner_sees_why_publishers_were_refused",
            "stream::list_refusals::a_refusal_of_an_unknown_key_is_not_recorded",
            "lifecycle::purge::only_rows_past_their_retention_are_purged",
        ],
    ),
    (
        "history of a project",
        &[
            "stream::watch_refusals::after_pruning_a_watch_resumes_only_where_no_event_is_missing",
            "contract::canary::leaks::no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database",
        ],
    ),
    (
        "deleted accounts, projects and destinations",
        &[
            "auth::delete_me::a_deleted_account_holds_nothing_of_its_person",
            "auth::delete_me::the_projects_of_a_deleted_account_lose_names_addresses_and_keys_before_their_rows",
            "project::delete_project::a_forced_deletion_ends_the_live_stream_and_erases_names_addresses_and_keys",
            "project::delete_destination::the_name_address_and_key_of_a_deleted_destination_are_erased_at_once",
            "auth::delete_me::an_account_with_200_000_streams_is_deleted_at_once_while_others_write",
        ],
    ),
    (
        "ended streams and their relays",
        &["lifecycle::purge::ended_streams_and_their_relays_are_purged_after_their_retention"],
    ),
    (
        "records of usage",
        &[
            "lifecycle::purge::only_rows_past_their_retention_are_purged",
            "usage::records::usage_remains_when_the_project_is_deleted",
        ],
    ),
    (
        "audit events",
        &[
            "auth::account_audit_log::events_outlive_the_account_and_are_purged_after_the_retention",
            "auth::account_audit_log::refusals_without_an_account_are_kept_for_a_week",
        ],
    ),
];
