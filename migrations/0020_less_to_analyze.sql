-- Events and commands are found by their keys alone: no plan depends on how their
-- values are spread, and a table of some thousand steps is read well by any. On a
-- young log the analysis of 24 columns took a sixteenth of all processor time.

-- +goose Up
-- +goose StatementBegin
do $$
declare
    part regclass;
begin
    for part in select inhrelid from pg_inherits where inhparent = 'events'::regclass loop
        execute format('alter table %s set (autovacuum_analyze_threshold = 1000000)', part);
    end loop;
end
$$;
-- +goose StatementEnd
alter table commands set (autovacuum_analyze_threshold = 1000000);
alter table steps set (autovacuum_analyze_threshold = 50000);

-- +goose StatementBegin
create or replace function add_events_partition(first bigint, beyond bigint) returns void
language plpgsql security definer set search_path from current
as $$
declare
    name text := 'events_p' || first;
begin
    execute format('create table %I (like events including all) with (autovacuum_analyze_threshold = 1000000)', name);
    perform protect_table(name::regclass);
    execute format('alter table events attach partition %I for values from (%s) to (%s)', name, first, beyond);
end
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
create or replace function add_events_partition(first bigint, beyond bigint) returns void
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
alter table steps reset (autovacuum_analyze_threshold);
alter table commands reset (autovacuum_analyze_threshold);
-- +goose StatementBegin
do $$
declare
    part regclass;
begin
    for part in select inhrelid from pg_inherits where inhparent = 'events'::regclass loop
        execute format('alter table %s reset (autovacuum_analyze_threshold)', part);
    end loop;
end
$$;
-- +goose StatementEnd
