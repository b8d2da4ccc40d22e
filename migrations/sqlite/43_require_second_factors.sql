-- Organizations whose members need a second factor.

alter table organizations add column require_second_factor INTEGER not null default false;
