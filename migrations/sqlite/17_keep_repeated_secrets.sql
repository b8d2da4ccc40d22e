-- The secret that a create with a request_id returned, so that a repetition returns it again.

-- Sealed; null if the resource itself has the secret, or there is none. Deleted with the row.
alter table idempotent_creates add column secret_sealed BLOB;
