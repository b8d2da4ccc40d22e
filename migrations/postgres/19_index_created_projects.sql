-- For watches of all projects of a user, which search for new ones.

create index projects_by_creation on projects (owner_id, create_time) where delete_time is null;
