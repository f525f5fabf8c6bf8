-- Events that a reaction is to handle again, because the operator asked for it
-- after they were dead letters. The owner of a stream's partition takes them.

-- +goose Up
create table reaction_requeue (
    reaction text   not null,
    position bigint not null,
    stream   text collate "C" not null,
    sequence bigint not null,
    primary key (reaction, position)
);

-- +goose Down
drop table reaction_requeue;
