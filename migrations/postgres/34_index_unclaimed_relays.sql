-- For claims: what is unclaimed of a live stream, however many relays of other streams wait.

create index relays_unclaimed_of_stream on relays (stream_id, ready_time)
    where wanted and lease_id is null and state <> 'failed';
