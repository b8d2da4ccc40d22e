//! The statements of PostgreSQL that write what a report of a media server changes.
//!
//! | parameter | |
//! |---|---|
//! | `$1`, `$2`, `$3` | the project, its revision as it was read, and the new one |
//! | `$4`, `$5`, `$23` | the stream that was read, with the time of its last report and its bytes |
//! | `$6`, `$7`, `$8` | the node, boot and connection |
//! | `$9` | whether the boot must be the newest one of its node |
//! | `$10`, `$11` | whether the connection begins, or ends |
//! | `$12` | the time |
//! | `$13`, `$14` | the changed stream and the added one, as JSON |
//! | `$15`, `$16`, `$17` | whether the play URL is written, and the URL |
//! | `$18`, `$19` | the revisions and the changes of the events |
//! | `$20`, `$21` | the added relays and the changed ones, as JSON |
//! | `$22` | whether the silence of the relays begins anew |
//!
//! All statements take all parameters. PostgreSQL prepares each part of a statement to run, even
//! one that has nothing to write: with all of them the write of a BeginPublish takes 0.44 ms of
//! its CPU time, with [`WRITE_BEGIN`] 0.33.

/// The changed columns of a relay as a record of JSON.
macro_rules! relay_record {
    () => {
        "(stream_id uuid, destination_id uuid, wanted boolean, state text,
          ready_time timestamptz, bitrate_bps bigint, update_time timestamptz, issues json,
          capacity_issue json)"
    };
}

/// The columns of a stream as a record of JSON, as its events have them.
macro_rules! stream_record {
    () => {
        "(id uuid, status text, epoch bigint, publisher json, connected boolean,
          create_time timestamptz, live_time timestamptz, last_seen_time timestamptz,
          deadline timestamptz, key_expire_time timestamptz, end_time timestamptz,
          end_reason text, stats json, issues json)"
    };
}

/// Locks what the changes depend on, writes the revision and the events, and begins the list of
/// what else is written. Without the row of `unchanged` nothing is written.
macro_rules! write_if_unchanged {
    () => {
        "with project as materialized (
             select p.id
             from projects p
             where p.id = $1 and p.revision = $2
               and (not $9 or $7 = (
                   select b.boot_id
                   from node_boots b
                   where b.node_id = $6
                   order by b.create_time desc, b.boot_id desc
                   limit 1))
             for no key update skip locked),
         stream as materialized (
             select s.id
             from streams s
             where s.id = $4 and s.last_seen_time = $5
               and s.bytes_received is not distinct from $23
               and exists (select 1 from project)
             for no key update skip locked),
         unchanged as materialized (
             select id as project_id
             from project
             where $4 is null or exists (select 1 from stream)),
         revised as (
             update projects p
             set revision = $3
             from unchanged
             where p.id = unchanged.project_id and $3 <> $2),
         recorded as (
             insert into events (project_id, revision, create_time, change)
             select project_id, e.revision,
                    greatest($12, (
                        select l.create_time
                        from events l
                        where l.project_id = $1
                        order by l.revision desc
                        limit 1)),
                    e.change
             from unchanged, unnest($18::bigint[], $19::text[]) as e(revision, change))"
    };
}

/// Inserts the connection.
macro_rules! begun {
    () => {
        ", begun as (
             insert into publishes (node_id, boot_id, connection_id, project_id, create_time)
             select $6, $7, $8, project_id, $12
             from unchanged
             where $10)"
    };
}

/// Writes the end of the connection.
macro_rules! ended {
    () => {
        ", ended as (
             update publishes c
             set end_time = $12
             from unchanged
             where $11 and c.node_id = $6 and c.boot_id = $7 and c.connection_id = $8
               and c.project_id = unchanged.project_id and c.end_time is null)"
    };
}

/// Updates the stream that was read.
macro_rules! changed {
    () => {
        concat!(
            ", changed as (
             update streams s
             set status = r.status, epoch = r.epoch,
                 node_id = r.publisher ->> 'node_id', boot_id = r.publisher ->> 'boot_id',
                 connection_id = r.publisher ->> 'connection_id',
                 peer_address = r.publisher ->> 'peer_address',
                 protocol = r.publisher ->> 'protocol', connected = r.connected,
                 live_time = r.live_time, last_seen_time = r.last_seen_time,
                 deadline = r.deadline, key_expire_time = r.key_expire_time,
                 end_time = r.end_time, end_reason = r.end_reason,
                 bytes_received = (r.stats ->> 'bytes_received')::bigint,
                 bitrate_bps = (r.stats ->> 'bitrate_bps')::bigint,
                 width = (r.stats ->> 'width')::integer,
                 height = (r.stats ->> 'height')::integer,
                 fps = (r.stats ->> 'fps')::double precision,
                 video_codec = r.stats ->> 'video_codec',
                 audio_codec = r.stats ->> 'audio_codec',
                 media = r.stats ->> 'media', issues = nullif(r.issues::text, '[]'),
                 play_url_id = case when r.end_time is not null then null
                     when $15 then $16 else s.play_url_id end,
                 play_url_sealed = case when r.end_time is not null then null
                     when $15 then $17 else s.play_url_sealed end
             from unchanged, json_to_record($13::json) as r",
            stream_record!(),
            " where $13 is not null and s.id = $4
             returning s.id)"
        )
    };
}

/// Inserts a stream, on a condition.
macro_rules! added {
    ($condition:literal) => {
        concat!(
            ", added as (
             insert into streams
                 (id, project_id, status, epoch, node_id, boot_id, connection_id,
                  peer_address, protocol, connected, create_time, live_time, last_seen_time,
                  deadline, key_expire_time, play_url_id, play_url_sealed)
             select r.id, project_id, r.status, r.epoch, $6, $7, $8,
                    r.publisher ->> 'peer_address', r.publisher ->> 'protocol', r.connected,
                    r.create_time, r.live_time, r.last_seen_time, r.deadline,
                    r.key_expire_time, $16, $17
             from unchanged, json_to_record($14::json) as r",
            stream_record!(),
            " where $14 is not null",
            $condition,
            ")"
        )
    };
}

/// Inserts and updates relays.
macro_rules! relays {
    () => {
        concat!(
            ", added_relays as (
             insert into relays
                 (stream_id, destination_id, project_id, wanted, state, attempt, ready_time,
                  bytes_sent, bitrate_bps, update_time)
             select r.stream_id, r.destination_id, project_id, r.wanted, r.state, 0,
                    r.ready_time, 0, r.bitrate_bps, r.update_time
             from unchanged, json_to_recordset($20::json) as r",
            relay_record!(),
            " where $20 is not null),
         changed_relays as (
             update relays l
             set wanted = r.wanted, state = r.state, ready_time = r.ready_time,
                 bitrate_bps = r.bitrate_bps, update_time = r.update_time,
                 issues = nullif(r.issues::text, '[]'),
                 capacity_issue = r.capacity_issue::text
             from unchanged, json_to_recordset($21::json) as r",
            relay_record!(),
            " where $21 is not null and l.stream_id = $4
               and l.destination_id = r.destination_id),
         heard as (
             update relays l
             set silent_since = $12
             from unchanged
             where $22 and l.stream_id = $4 and l.lease_id is not null)"
        )
    };
}

/// Returns whether the changes are written.
macro_rules! is_written {
    () => {
        " select exists (select 1 from unchanged)"
    };
}

/// Writes a stream that begins.
pub(super) const WRITE_BEGIN: &str =
    concat!(write_if_unchanged!(), begun!(), added!(""), is_written!());

/// Writes a stream that changes.
pub(super) const WRITE_CHANGE: &str =
    concat!(write_if_unchanged!(), ended!(), changed!(), is_written!());

/// Writes all changes. An added stream waits for the end of the one before (`changed`), because a
/// project has one stream that has not ended.
pub(super) const WRITE_ALL: &str = concat!(
    write_if_unchanged!(),
    begun!(),
    ended!(),
    changed!(),
    added!(" and (select count(*) from changed) >= 0"),
    relays!(),
    is_written!()
);
