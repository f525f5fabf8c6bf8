-- Functions that every query calls. One written in SQL is planned again by each
-- query; one in PL/pgSQL is planned once a session.

-- +goose Up
-- +goose StatementBegin
create or replace function live_build(wanted text, wanted_version integer) returns integer
language plpgsql stable parallel safe
as $$
begin
    return (select build from projection_builds where projection = wanted and version = wanted_version and state = 'live');
end
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function current_tenant() returns text
language plpgsql stable security definer parallel safe set search_path from current
as $$
declare
    v text := current_setting('hishamos.tenant', true);
begin
    return (select substr(v, 66) from tenant_key
        where left(v, 64) = encode(sha256(outside || sha256(inside || convert_to(substr(v, 66), 'UTF8'))), 'hex'));
end
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
create or replace function current_tenant() returns text
language sql stable security definer parallel safe set search_path from current
as $$
    select substr(v, 66) from current_setting('hishamos.tenant', true) as v, tenant_key
    where left(v, 64) = encode(sha256(outside || sha256(inside || convert_to(substr(v, 66), 'UTF8'))), 'hex')
$$;
-- +goose StatementEnd

-- +goose StatementBegin
create or replace function live_build(wanted text, wanted_version integer) returns integer
language sql stable parallel safe
as $$
    select build from projection_builds where projection = wanted and version = wanted_version and state = 'live'
$$;
-- +goose StatementEnd
