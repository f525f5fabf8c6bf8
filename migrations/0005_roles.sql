-- Who may do what. Two roles, made before this by internal/pg (or by
-- deploy/roles.sql): hishamos_writer is what the program works as,
-- hishamos_reader is what the queries of requests run as. Logins are members of
-- one of them; see docs/adr/0023.
--
-- A table with a column `tenant` has forced row security: the reader sees the
-- rows of the tenant that its transaction names, and none if it names none. The
-- name is signed with a key that the reader cannot read, so that SQL smuggled
-- into a query cannot name another one.

-- +goose Up
create table tenant_key (
    only_row boolean primary key default true check (only_row),
    inside   bytea not null check (length(inside) = 64),
    outside  bytea not null check (length(outside) = 64)
);

insert into tenant_key (inside, outside)
select decode(string_agg(replace(gen_random_uuid()::text, '-', ''), ''), 'hex'),
    decode(string_agg(replace(gen_random_uuid()::text, '-', ''), ''), 'hex')
from generate_series(1, 4);

-- The tenant that the transaction reads as; null when none is named or the
-- signature is not ours. The setting is the signature in 64 digits, a full stop,
-- and the tenant; `*` stands for all of them.
-- +goose StatementBegin
create function current_tenant() returns text
language sql stable security definer parallel safe set search_path from current
as $$
    select substr(v, 66) from current_setting('hishamos.tenant', true) as v, tenant_key
    where left(v, 64) = encode(sha256(outside || sha256(inside || convert_to(substr(v, 66), 'UTF8'))), 'hex')
$$;
-- +goose StatementEnd

-- Puts a table under forced row security. owner_of is the expression that says
-- whose a row is.
-- +goose StatementBegin
create function protect_table(t regclass, owner_of text default 'tenant') returns void
language plpgsql set search_path from current
as $$
begin
    execute format('alter table %s enable row level security, force row level security', t);
    execute format('drop policy if exists writer on %s', t);
    execute format('drop policy if exists reader on %s', t);
    execute format('create policy writer on %s to hishamos_writer using (true) with check (true)', t);
    execute format('create policy reader on %s for select to hishamos_reader using ((select current_tenant()) in (%s, ''*''))', t, owner_of);
end
$$;
-- +goose StatementEnd

-- Gives the tables of later migrations what they need. It runs after every
-- migration: tables with a tenant are protected, read models (they have a tenant
-- and a build) can be read, and the writer may change all but the event store.
-- +goose StatementBegin
create function protect_tables() returns void
language plpgsql set search_path from current
as $$
declare
    t record;
begin
    for t in
        select c.oid::regclass as name, c.relforcerowsecurity as forced,
            exists (select from pg_attribute where attrelid = c.oid and attname = 'tenant' and not attisdropped) as owned,
            exists (select from pg_attribute where attrelid = c.oid and attname = 'build' and not attisdropped) as built
        from pg_class c
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
            and pg_has_role(current_user, c.relowner, 'usage') and not c.relispartition
            and c.relname not in ('log', 'events', 'stream_heads', 'commands', 'claims', 'tenant_key', 'goose_db_version')
    loop
        if t.owned and not t.forced then
            perform protect_table(t.name);
        end if;
        if t.owned and t.built then
            execute format('grant select on %s to hishamos_reader', t.name);
        end if;
        execute format('grant select, insert, update, delete on %s to hishamos_writer', t.name);
    end loop;
end
$$;
-- +goose StatementEnd

-- Makes the next partition of the events, which only the owner can. It is made
-- apart and then attached: that needs no lock which readers or appends would
-- wait for.
-- +goose StatementBegin
create function add_events_partition(first bigint, beyond bigint) returns void
language plpgsql security definer set search_path from current
as $$
declare
    name text := 'events_p' || first;
begin
    execute format('create table %I (like events including all)', name);
    perform protect_table(name::regclass);
    execute format('alter table events attach partition %I for values from (%s) to (%s)', name, first, beyond);
end
$$;
-- +goose StatementEnd

revoke execute on function protect_table(regclass, text), protect_tables(), add_events_partition(bigint, bigint) from public;
grant execute on function add_events_partition(bigint, bigint) to hishamos_writer;

select protect_table('events'), protect_table('commands'), protect_table('claims');
select protect_table(inhrelid) from pg_inherits where inhparent = 'events'::regclass;
select protect_table('projection_parked', 'split_part(stream, ''/'', 1)');

-- The event store is only added to.
grant select, insert on events, commands to hishamos_writer;
grant select, insert, update on stream_heads to hishamos_writer;
grant select, insert, update, delete on claims to hishamos_writer;
grant select, update on log to hishamos_writer;
grant select on tenant_key, goose_db_version to hishamos_writer;

-- What no tenant owns: where the log ends and how far things are.
grant select on log, relay_mark, projection_builds, projection_checkpoints to hishamos_reader;
grant select on events, commands, projection_parked to hishamos_reader;

select protect_tables();

-- +goose Down
-- +goose StatementBegin
do $$
declare
    t record;
begin
    for t in select oid::regclass as name from pg_class
        where relnamespace = current_schema()::regnamespace and relforcerowsecurity
    loop
        execute format('drop policy if exists writer on %s', t.name);
        execute format('drop policy if exists reader on %s', t.name);
        execute format('alter table %s no force row level security, disable row level security', t.name);
    end loop;
    execute format('revoke all on all tables in schema %I from hishamos_writer, hishamos_reader', current_schema());
end
$$;
-- +goose StatementEnd
drop function add_events_partition(bigint, bigint), protect_tables(), protect_table(regclass, text), current_tenant();
drop table tenant_key;
