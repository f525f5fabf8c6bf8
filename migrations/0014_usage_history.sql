-- What was added to the days of usage, and from which position on it holds
-- (projections/usage.go): usage as of the past.

-- +goose Up
create table usage_changes (
    build              integer not null,
    tenant             text collate "C" not null,
    workflow           text collate "C" not null,
    day                date not null,
    position           bigint not null,
    started            integer not null,
    completed          integer not null,
    failed             integer not null,
    cancelled          integer not null,
    simulated          integer not null,
    ended              integer not null,
    calls              integer not null,
    simulated_calls    integer not null,
    unpriced_calls     integer not null,
    duration_ms        bigint not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    primary key (build, tenant, workflow, day, position)
);

create table agent_changes (
    build              integer not null,
    tenant             text collate "C" not null,
    agent              text collate "C" not null,
    day                date not null,
    position           bigint not null,
    attempts           integer not null,
    completed          integer not null,
    failed             integer not null,
    retried            integer not null,
    lapsed             integer not null,
    calls              integer not null,
    simulated_calls    integer not null,
    unpriced_calls     integer not null,
    duration_ms        bigint not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    primary key (build, tenant, agent, day, position)
);

-- +goose Down
drop table agent_changes, usage_changes;
