-- The key store, in a database of its own: wrapped keys, and the marks of those
-- that were destroyed.

-- +goose Up
create table keys (
    box    text collate "C" not null,
    n      integer not null,
    record bytea   not null check (length(record) = 60),
    primary key (box, n)
) with (fillfactor = 90);

-- +goose Down
-- +goose StatementBegin
do $$ begin
    raise exception 'keys are never migrated down: restore a backup instead';
end $$;
-- +goose StatementEnd
