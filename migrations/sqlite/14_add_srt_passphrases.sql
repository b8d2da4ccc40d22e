-- The encryption of SRT destinations.

-- The passphrase, sealed; null if there is none.
alter table destinations add column srt_passphrase_sealed BLOB;
-- The length of the key in bytes: 16, 24 or 32; 0 leaves the choice to the worker.
alter table destinations add column srt_pbkeylen INTEGER not null default 0;
