-- What processes need to run and may lose: resume points of reactions and the
-- addresses of nodes. Neither is an event; both are found again after a loss.

-- +goose Up
create table reaction_resume (
    reaction   text   not null,
    topic      text   not null,
    partition  int    not null,
    position   bigint not null,
    epoch      int    not null,
    log_offset bigint not null,
    primary key (reaction, topic, partition)
);

create table nodes (
    id      uuid primary key,
    address text        not null, -- http://host:port where workers find the node
    secret  text        not null, -- what they present; readable by those who may read this table
    seen    timestamptz not null
);

-- The relay's published mark: everything up to it is on Kafka, and what each
-- partition then ended with, a line of topic, partition and position each. A
-- hint for processes other than the relay's; the relay itself never reads it.
create table relay_mark (
    only_row boolean primary key default true check (only_row),
    position bigint not null,
    tails    text   not null
);

-- Where verify goes on: the chain up to here was found whole.
create table verify_mark (
    only_row boolean primary key default true check (only_row),
    position bigint not null,
    hash     bytea  not null
);

-- +goose Down
drop table verify_mark;
drop table relay_mark;
drop table nodes;
drop table reaction_resume;
