-- Options of destinations that relays apply.

-- How much later than the stream the media is sent, in milliseconds: 0 to 60,000.
alter table destinations add column delay_ms INTEGER not null default 0;
-- The limits of the video, which is encoded for the destination if one is not 0: thousands of bits
-- in a second, and pixels.
alter table destinations add column max_video_bitrate_kbps INTEGER not null default 0;
alter table destinations add column max_height INTEGER not null default 0;
