-- Signed checkpoints of the log. Where the next one goes on is derived from the
-- log and computed anew if it is missing; the checkpoints themselves are copies
-- of what is brought to the anchors.

-- +goose Up
create table checkpoints (
    position bigint primary key,
    note     text not null
);

-- The right edge of the Merkle tree over the first `position` leaves: its hashes
-- one behind another.
create table checkpoint_edge (
    only_row boolean primary key default true check (only_row),
    position bigint not null,
    hash     bytea  not null, -- of the chain
    edge     bytea  not null
);

-- Verify goes on with the tree too. A mark without its edge begins anew.
alter table verify_mark add column edge bytea;

-- +goose Down
alter table verify_mark drop column edge;
drop table checkpoint_edge;
drop table checkpoints;
