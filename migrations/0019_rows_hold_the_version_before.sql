-- The row of a step holds the version before its own, if that was due and nothing
-- else. The read model is rebuilt as its next version.

-- +goose Up
alter table steps
    add column due_version bigint,
    add column due_position bigint,
    add column due_from bigint;

-- +goose Down
alter table steps
    drop column due_version,
    drop column due_position,
    drop column due_from;
