-- Heartbeats write when a stream was last seen, and update no index.
--
-- Which streams are silent is read from those that have not ended: streams at media servers that report
-- all of their connections were found by that index always, and left out one by one.

drop index streams_unended_by_last_seen;
