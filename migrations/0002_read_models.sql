-- The read models, and what the runner of projections knows about them. Rows of
-- a read model carry the number of the build that made them: a new build is
-- filled beside the live one and switched by one update, and queries ask for
-- live_build(projection, version).
--
-- A table named _history keeps superseded rows: each held from valid_from up to
-- and not including valid_to. Content that is written once stays in the live row.

-- +goose Up
create table projection_builds (
    projection text        not null,
    version    integer     not null,
    build      integer     not null,
    state      text        not null check (state in ('building', 'live', 'retired')),
    began      timestamptz not null default now(),
    switched   timestamptz,
    discarded  boolean     not null default false, -- its rows are gone
    primary key (projection, build)
);

create unique index projection_builds_live on projection_builds (projection, version) where state = 'live';

-- owner is the fence: every new owner of a partition raises it, and a commit
-- that names an older one fails.
create table projection_checkpoints (
    projection text    not null,
    build      integer not null,
    topic      text    not null,
    partition  integer not null,
    position   bigint  not null,
    mark       bigint  not null,
    epoch      integer not null,
    log_offset bigint  not null,
    owner      bigint  not null default 0,
    batch      bigint  not null default 0, -- commits so far; see projection.Checkpoint
    primary key (projection, build, topic, partition)
) with (fillfactor = 50);

create table projection_parked (
    projection text        not null,
    build      integer     not null,
    stream     text collate "C" not null,
    sequence   bigint      not null,
    position   bigint      not null,
    type       text        not null,
    cause      text        not null,
    parked     timestamptz not null,
    requested  boolean     not null default false,
    primary key (projection, build, stream)
);

-- Which processes share the partitions; a hint.
create table projection_processes (
    process text primary key,
    seen    timestamptz not null
);

-- +goose StatementBegin
create function live_build(wanted text, wanted_version integer) returns integer
language sql stable parallel safe
as $$
    select build from projection_builds where projection = wanted and version = wanted_version and state = 'live'
$$;
-- +goose StatementEnd

-- Runs and their steps: projections/run.go and projections/task.go.
create table runs (
    build              integer not null,
    tenant             text collate "C" not null,
    run                text collate "C" not null,
    workflow           text collate "C" not null,
    workflow_version   integer not null,
    title              text not null,
    state              text not null,
    priority           integer not null,
    steps_done         integer not null,
    steps_total        integer not null,
    current_steps      json,
    paths              json,
    started_by         text not null,
    reason             text not null,
    error_code         text not null,
    error_message      text not null,
    error_path         text not null,
    inputs             json,
    outputs            json,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    simulated          boolean not null,
    started            timestamptz not null,
    ended              timestamptz,
    deadline           timestamptz,
    version            bigint not null,
    position           bigint not null,
    updated            timestamptz not null,
    valid_from         bigint not null,
    primary key (build, tenant, run)
) with (fillfactor = 80);

create index runs_started on runs (build, tenant, started, run);
create index runs_state on runs (build, tenant, state, started, run);
create index runs_workflow on runs (build, tenant, workflow, started, run);

create table runs_history (
    build              integer not null,
    tenant             text collate "C" not null,
    run                text collate "C" not null,
    state              text not null,
    steps_done         integer not null,
    steps_total        integer not null,
    current_steps      json,
    reason             text not null,
    error_code         text not null,
    error_message      text not null,
    error_path         text not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    simulated          boolean not null,
    ended              timestamptz,
    version            bigint not null,
    position           bigint not null,
    updated            timestamptz not null,
    valid_from         bigint not null,
    valid_to           bigint not null
);

create index runs_history_run on runs_history (build, tenant, run, valid_to);
create index runs_history_valid on runs_history using brin (valid_to, valid_from);

create table steps (
    build              integer not null,
    tenant             text collate "C" not null,
    run                text collate "C" not null,
    path               text collate "C" not null,
    ordinal            integer not null,
    title              text not null,
    kind               text not null,
    agent              text collate "C" not null,
    agent_version      integer not null,
    template           text collate "C" not null,
    template_version   integer not null,
    needs              json,
    condition          text not null,
    input              json,
    workflow           text collate "C" not null,
    priority           integer not null,
    requested_by       text not null,
    created            timestamptz not null,
    state              text not null,
    attempts           integer not null,
    input_hash         text not null,
    output             json,
    reason             text not null,
    error_code         text not null,
    error_message      text not null,
    provider           text not null,
    model              text not null,
    simulated          boolean not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    scheduled          timestamptz,
    started            timestamptz,
    ended              timestamptz,
    retry_at           timestamptz,
    position           bigint not null,
    updated            timestamptz not null,
    valid_from         bigint not null,
    primary key (build, tenant, run, path)
) with (fillfactor = 80);

create index steps_created on steps (build, tenant, created, run, path) where agent <> '';
create index steps_state on steps (build, tenant, state, created, run, path) where agent <> '';
create index steps_agent on steps (build, tenant, agent, created, run, path) where agent <> '';

create table steps_history (
    build              integer not null,
    tenant             text collate "C" not null,
    run                text collate "C" not null,
    path               text collate "C" not null,
    agent              text collate "C" not null,
    agent_version      integer not null,
    template           text collate "C" not null,
    template_version   integer not null,
    state              text not null,
    attempts           integer not null,
    input_hash         text not null,
    reason             text not null,
    error_code         text not null,
    error_message      text not null,
    provider           text not null,
    model              text not null,
    simulated          boolean not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    scheduled          timestamptz,
    started            timestamptz,
    ended              timestamptz,
    retry_at           timestamptz,
    position           bigint not null,
    updated            timestamptz not null,
    valid_from         bigint not null,
    valid_to           bigint not null
);

create index steps_history_step on steps_history (build, tenant, run, valid_to);
create index steps_history_valid on steps_history using brin (valid_to, valid_from);

-- Workflows that users wrote: projections/workflow.go.
create table workflows (
    build              integer not null,
    tenant             text collate "C" not null,
    workflow           text collate "C" not null,
    name               text collate "C" not null,
    title              text not null,
    definition_version integer not null,
    hash               text not null,
    copied_from        json,
    archived           boolean not null,
    created            timestamptz not null,
    created_by         text not null,
    updated            timestamptz not null,
    updated_by         text not null,
    version            bigint not null,
    position           bigint not null,
    definition         json,
    valid_from         bigint not null,
    primary key (build, tenant, workflow)
) with (fillfactor = 80);

create index workflows_name on workflows (build, tenant, name, workflow);

create table workflows_history (
    build              integer not null,
    tenant             text collate "C" not null,
    workflow           text collate "C" not null,
    name               text collate "C" not null,
    title              text not null,
    definition_version integer not null,
    hash               text not null,
    copied_from        json,
    archived           boolean not null,
    created            timestamptz not null,
    created_by         text not null,
    updated            timestamptz not null,
    updated_by         text not null,
    version            bigint not null,
    position           bigint not null,
    valid_from         bigint not null,
    valid_to           bigint not null
);

create index workflows_history_workflow on workflows_history (build, tenant, workflow, valid_to);

create table workflow_versions (
    build              integer not null,
    tenant             text collate "C" not null,
    workflow           text collate "C" not null,
    definition_version integer not null,
    title              text not null,
    hash               text not null,
    definition         json not null,
    recorded           timestamptz not null,
    actor              text not null,
    version            bigint not null,
    position           bigint not null,
    primary key (build, tenant, workflow, definition_version)
) with (fillfactor = 80);

-- What was used: projections/usage.go. usage_runs is what later events of a run
-- are counted under.
create table usage_runs (
    build     integer not null,
    tenant    text collate "C" not null,
    run       text collate "C" not null,
    workflow  text collate "C" not null,
    started   timestamptz not null,
    agents    json,
    simulated boolean not null,
    primary key (build, tenant, run)
) with (fillfactor = 80);

create table usage_days (
    build              integer not null,
    tenant             text collate "C" not null,
    workflow           text collate "C" not null,
    day                date not null,
    started            bigint not null,
    completed          bigint not null,
    failed             bigint not null,
    cancelled          bigint not null,
    simulated          bigint not null,
    duration_ms        bigint not null,
    ended              bigint not null,
    calls              bigint not null,
    simulated_calls    bigint not null,
    unpriced_calls     bigint not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    primary key (build, tenant, workflow, day)
) with (fillfactor = 80);

create index usage_days_day on usage_days (build, tenant, day);

create table agent_days (
    build              integer not null,
    tenant             text collate "C" not null,
    agent              text collate "C" not null,
    day                date not null,
    attempts           bigint not null,
    completed          bigint not null,
    failed             bigint not null,
    retried            bigint not null,
    lapsed             bigint not null,
    duration_ms        bigint not null,
    calls              bigint not null,
    simulated_calls    bigint not null,
    unpriced_calls     bigint not null,
    tokens_input       bigint not null,
    tokens_cached      bigint not null,
    tokens_cache_write bigint not null,
    tokens_output      bigint not null,
    tokens_reasoning   bigint not null,
    cost               bigint not null,
    primary key (build, tenant, agent, day)
) with (fillfactor = 80);

create index agent_days_day on agent_days (build, tenant, day);

-- Access tokens: projections/token.go.
create table access_tokens (
    build       integer not null,
    tenant      text collate "C" not null,
    token       text collate "C" not null,
    secret_hash text collate "C" not null,
    owner       text collate "C" not null,
    actor_id    text not null,
    actor_kind  text not null,
    permissions json,
    revoked     boolean not null,
    issued      timestamptz not null,
    updated     timestamptz not null,
    version     bigint not null,
    position    bigint not null,
    primary key (build, tenant, token)
) with (fillfactor = 80);

create index access_tokens_secret on access_tokens (build, secret_hash);

-- +goose Down
drop table access_tokens, agent_days, usage_days, usage_runs, workflow_versions, workflows_history, workflows,
    steps_history, steps, runs_history, runs;
drop function live_build;
drop table projection_processes, projection_parked, projection_checkpoints, projection_builds;
