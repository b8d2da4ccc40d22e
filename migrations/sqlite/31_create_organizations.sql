-- Organizations, which own projects and webhooks. The personal organization of a user has the id
-- of the user: the owners that are stored so far are organizations already.

create table organizations (
    id BLOB primary key,
    -- Empty for a personal organization, which has the name of its user.
    display_name TEXT not null,
    personal INTEGER not null,
    create_time TEXT not null,
    update_time TEXT not null,
    -- Its rows are deleted in batches.
    delete_time TEXT
) strict;
create index organizations_by_deletion on organizations (delete_time)
    where delete_time is not null;

-- Deleted users and organizations have none.
create table memberships (
    organization_id BLOB not null references organizations (id) on delete cascade,
    user_id BLOB not null references users (id) on delete cascade,
    role TEXT not null,
    create_time TEXT not null,
    update_time TEXT not null,
    primary key (organization_id, user_id)
) strict;
create index memberships_of_user on memberships (user_id, organization_id);

insert into organizations
    (id, display_name, personal, create_time, update_time, delete_time)
select id, '', true, create_time, create_time, delete_time
from users;

insert into memberships (organization_id, user_id, role, create_time, update_time)
select id, id, 'owner', create_time, create_time
from users
where delete_time is null;

-- The personal organization comes and goes with its user. Rows that are copied into an empty
-- database bring their organization with them.
create trigger users_create_organization after insert on users
begin
    insert into organizations (id, display_name, personal, create_time, update_time)
    values (new.id, '', true, new.create_time, new.create_time)
    on conflict do nothing;
    insert into memberships (organization_id, user_id, role, create_time, update_time)
    select new.id, new.id, 'owner', new.create_time, new.create_time
    where changes() = 1;
end;

create trigger users_mark_organization after update of delete_time on users
when new.delete_time is not null
begin
    update organizations set delete_time = new.delete_time where id = new.id;
    delete from memberships where user_id = new.id;
end;

create trigger users_delete_organization after delete on users
begin
    delete from organizations where id = old.id;
end;

-- SQLite cannot change a foreign key: the tables are written anew, with the same rows. Migrations
-- run without foreign keys, so that dropping the former tables deletes nothing else.
create table new_projects (
    id BLOB primary key,
    owner_id BLOB not null references organizations (id) on delete cascade,
    name TEXT not null,
    disabled INTEGER not null,
    reconnect_window_ms INTEGER not null,
    publish_conflict_policy TEXT not null,
    -- SHA-256 of the stream key, by which it is found. Null once deleted.
    stream_key_hash BLOB unique,
    -- The stream key itself, sealed. Null once deleted.
    stream_key_sealed BLOB,
    stream_key_hint TEXT not null,
    -- The key before, while its grace lasts.
    previous_key_hash BLOB unique,
    previous_key_expire_time TEXT,
    -- Publishers are refused until then.
    publish_held_until TEXT,
    -- Grows by one with every change of the project and what belongs to it.
    revision INTEGER not null,
    create_time TEXT not null,
    update_time TEXT not null,
    -- A deleted project stays for a while, so that media servers learn why its stream ended.
    delete_time TEXT,
    replaced_key_hash BLOB,
    outage_policy TEXT not null default 'end'
) strict;
insert into new_projects
    (id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy, stream_key_hash,
     stream_key_sealed, stream_key_hint, previous_key_hash, previous_key_expire_time,
     publish_held_until, revision, create_time, update_time, delete_time, replaced_key_hash,
     outage_policy)
select id, owner_id, name, disabled, reconnect_window_ms, publish_conflict_policy, stream_key_hash,
       stream_key_sealed, stream_key_hint, previous_key_hash, previous_key_expire_time,
       publish_held_until, revision, create_time, update_time, delete_time, replaced_key_hash,
       outage_policy
from projects;
drop table projects;
alter table new_projects rename to projects;
create index projects_of_owner on projects (owner_id, id) where delete_time is null;
create index projects_by_deletion on projects (delete_time) where delete_time is not null;
create unique index projects_by_replaced_key on projects (replaced_key_hash);
create index projects_by_owner on projects (owner_id);
create index projects_by_creation on projects (owner_id, create_time) where delete_time is null;

create table new_webhooks (
    id BLOB primary key,
    -- The organization whose projects it is about.
    owner_id BLOB not null references organizations (id) on delete cascade,
    -- Null: all projects of the owner.
    project_id BLOB references projects (id) on delete cascade,
    url TEXT not null,
    description TEXT not null,
    -- Names of event types, separated by spaces; empty means all.
    event_types TEXT not null,
    enabled INTEGER not null,
    -- Why the server disabled it; null if it did not.
    disable_reason TEXT,
    -- Since when no attempt has succeeded; null after a success.
    failing_since TEXT,
    secret_sealed BLOB not null,
    -- The secret before, while its grace lasts.
    previous_secret_sealed BLOB,
    previous_secret_expire_time TEXT,
    create_time TEXT not null,
    update_time TEXT not null,
    -- Its rows are deleted in batches.
    delete_time TEXT
) strict;
insert into new_webhooks
    (id, owner_id, project_id, url, description, event_types, enabled, disable_reason,
     failing_since, secret_sealed, previous_secret_sealed, previous_secret_expire_time,
     create_time, update_time, delete_time)
select id, owner_id, project_id, url, description, event_types, enabled, disable_reason,
       failing_since, secret_sealed, previous_secret_sealed, previous_secret_expire_time,
       create_time, update_time, delete_time
from webhooks;
drop table webhooks;
alter table new_webhooks rename to webhooks;
create index webhooks_of_owner on webhooks (owner_id, id);
create index webhooks_of_project on webhooks (project_id) where project_id is not null;
create index webhooks_by_deletion on webhooks (delete_time) where delete_time is not null;

-- Fails if a row refers to one that does not exist.
create table violations (count INTEGER not null check (count = 0)) strict;
insert into violations (count)
select count(*)
from pragma_foreign_key_check
where parent in ('organizations', 'projects', 'webhooks');
drop table violations;
