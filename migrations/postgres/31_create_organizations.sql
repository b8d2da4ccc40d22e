-- Organizations, which own projects and webhooks. The personal organization of a user has the id
-- of the user: the owners that are stored so far are organizations already.

create table organizations (
    id uuid primary key,
    -- Empty for a personal organization, which has the name of its user.
    display_name text not null,
    personal boolean not null,
    create_time timestamptz not null,
    update_time timestamptz not null,
    -- Its rows are deleted in batches.
    delete_time timestamptz
);
create index organizations_by_deletion on organizations (delete_time)
    where delete_time is not null;

-- Deleted users and organizations have none.
create table memberships (
    organization_id uuid not null references organizations (id) on delete cascade,
    user_id uuid not null references users (id) on delete cascade,
    role text not null,
    create_time timestamptz not null,
    update_time timestamptz not null,
    primary key (organization_id, user_id)
);
create index memberships_of_user on memberships (user_id, organization_id);

insert into organizations
    (id, display_name, personal, create_time, update_time, delete_time)
select id, '', true, create_time, create_time, delete_time
from users;

-- The personal organization comes and goes with its user, also while the previous version runs
-- beside. Rows that are copied into an empty database bring their organization with them.
create function create_personal_organization() returns trigger language plpgsql as $$
begin
    insert into organizations (id, display_name, personal, create_time, update_time)
    values (new.id, '', true, new.create_time, new.create_time)
    on conflict do nothing;
    if found then
        insert into memberships (organization_id, user_id, role, create_time, update_time)
        values (new.id, new.id, 'owner', new.create_time, new.create_time);
    end if;
    return null;
end
$$;
create trigger users_create_organization after insert on users
    for each row execute function create_personal_organization();

create function mark_personal_organization() returns trigger language plpgsql as $$
begin
    update organizations set delete_time = new.delete_time where id = new.id;
    delete from memberships where user_id = new.id;
    return null;
end
$$;
create trigger users_mark_organization after update of delete_time on users
    for each row when (new.delete_time is not null) execute function mark_personal_organization();

create function delete_personal_organization() returns trigger language plpgsql as $$
begin
    delete from organizations where id = old.id;
    return null;
end
$$;
create trigger users_delete_organization after delete on users
    for each row execute function delete_personal_organization();

-- Users that were created before the trigger: no statement writes to users from here on.
insert into organizations
    (id, display_name, personal, create_time, update_time, delete_time)
select id, '', true, create_time, create_time, delete_time
from users
on conflict do nothing;

insert into memberships (organization_id, user_id, role, create_time, update_time)
select id, id, 'owner', create_time, create_time
from users
where delete_time is null
on conflict do nothing;

-- Users that were deleted meanwhile.
update organizations
set delete_time = users.delete_time
from users
where users.id = organizations.id and users.delete_time is not null
  and organizations.delete_time is null;
delete from organizations
where not exists (select 1 from users where users.id = organizations.id);

-- The rows remain as they are.
alter table projects
    drop constraint projects_owner_id_fkey,
    add constraint projects_owner_id_fkey
        foreign key (owner_id) references organizations (id) on delete cascade;
alter table webhooks
    drop constraint webhooks_owner_id_fkey,
    add constraint webhooks_owner_id_fkey
        foreign key (owner_id) references organizations (id) on delete cascade;
