-- What CreateProject does, for pgbench: keep it as `Projects::create` is.
begin;
insert into projects
    (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy,
     stream_key_hash, stream_key_sealed, stream_key_hint, revision,
     create_time, update_time)
values (gen_random_uuid(), :owner, 'Show', false, 30000, 'reject_new',
        sha256(gen_random_uuid()::text::bytea), decode(repeat('5a', 96), 'hex'), 'abcd', 1,
        now(), now())
returning id \gset project_
insert into audit_events
    (id, user_id, create_time, action, result, session_id, api_key_id,
     resource_id, peer_address, user_agent)
values (gen_random_uuid(), :owner, now(), 'CreateProject', 'OK', :owner, null,
        :project_id, '127.0.0.1', '');
insert into events (project_id, revision, create_time, change)
values (:project_id, 1, now(), repeat('x', 330));
commit;
