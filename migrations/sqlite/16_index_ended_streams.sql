-- For the deletion of streams that ended long ago.

create index streams_by_end on streams (end_time) where end_time is not null;
