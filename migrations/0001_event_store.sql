-- The event store: the log, its events, and three tables that hold what must be
-- unique. All are written in one transaction, by whoever holds the lock on the
-- one row of `log`.

-- +goose Up

-- The end of the log. Every append changes this row, so its lock is the append
-- lock and its position and hash are what the next event follows.
create table log (
    one        boolean primary key default true check (one),
    log_id     uuid        not null default gen_random_uuid(),
    generation integer     not null default 1,  -- raised when the store was rebuilt from Kafka
    position   bigint      not null default 0,
    hash       bytea       not null default decode(repeat('00', 32), 'hex') check (length(hash) = 32),
    recorded   timestamptz not null default '0001-01-01 00:00:00+00',
    epoch      integer     not null default 1,  -- of the log on Kafka
    level      integer     not null default 1   -- highest level of event types that may be written
) with (fillfactor = 10);

insert into log default values;

-- One row per event: the envelope, the exact data, and the chain. Attributes that
-- are absent are empty strings. Uniqueness of (stream, sequence) is kept by
-- stream_heads, because a partitioned table cannot keep it.
create table events (
    position    bigint      not null,
    log_id      uuid        not null,
    generation  integer     not null,
    stream      text collate "C" not null,
    sequence    bigint      not null,
    tenant      text collate "C" not null,
    type        text collate "C" not null,
    version     integer     not null,
    time        timestamptz not null,
    recorded    timestamptz not null,
    correlation text        not null,
    causation   text        not null,
    command     text        not null,
    index       integer     not null,
    count       integer     not null,
    claims      text        not null,
    actor       text        not null,
    decidedby   text        not null,
    forkedfrom  text        not null,
    traceparent text        not null,
    keyids      text        not null,
    data        bytea       not null,
    prevhash    bytea       not null,
    hash        bytea       not null,
    primary key (position)
) partition by range (position);

create index events_stream on events (stream, sequence);

-- The appender makes the next partitions ahead of need.
create table events_p1 partition of events for values from (1) to (5000001);

-- The version of every stream, and whether it still waits for something.
create table stream_heads (
    stream  text collate "C" primary key,
    kind    text collate "C" not null,
    version bigint  not null,
    open    boolean not null
) with (fillfactor = 80);

create index stream_heads_open on stream_heads (kind, stream) where open;

-- Every command id that was carried out, with its receipt. streams holds, in the
-- order of the writes and separated by spaces, `<stream>/<version>`, unless that is
-- no more than the last event tells. body is null when the digest is not known (a
-- rebuilt store); null matches any.
create table commands (
    tenant   text collate "C" not null,
    command  text collate "C" not null,
    body     bytea,
    first    bigint      not null,
    last     bigint      not null,
    recorded timestamptz not null,
    streams  text        not null,
    primary key (tenant, command)
);

-- The unique keys that are taken, and by which append.
create table claims (
    tenant   text collate "C" not null,
    kind     text collate "C" not null,
    key      text collate "C" not null,
    stream   text collate "C" not null,  -- the first stream of the append
    position bigint not null,            -- its first event
    primary key (tenant, kind, key)
);

-- +goose Down
-- +goose StatementBegin
do $$ begin
    raise exception 'the event store is never migrated down: restore a backup instead';
end $$;
-- +goose StatementEnd
