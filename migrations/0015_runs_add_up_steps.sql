-- What the steps of a run add up to is added up when it is asked for, so that an
-- event of a step changes one row. The read model is rebuilt as its next version.

-- +goose Up
alter table runs
    drop column steps_done, drop column current_steps, drop column tokens_input, drop column tokens_cached,
    drop column tokens_cache_write, drop column tokens_output, drop column tokens_reasoning, drop column cost, drop column simulated;
alter table runs_history
    drop column steps_done, drop column current_steps, drop column tokens_input, drop column tokens_cached,
    drop column tokens_cache_write, drop column tokens_output, drop column tokens_reasoning, drop column cost, drop column simulated;
alter table steps add column version bigint not null default 0;
alter table steps_history add column version bigint not null default 0;

-- +goose Down
alter table steps drop column version;
alter table steps_history drop column version;
alter table runs
    add column steps_done integer not null default 0, add column current_steps json, add column tokens_input bigint not null default 0,
    add column tokens_cached bigint not null default 0, add column tokens_cache_write bigint not null default 0,
    add column tokens_output bigint not null default 0, add column tokens_reasoning bigint not null default 0,
    add column cost bigint not null default 0, add column simulated boolean not null default false;
alter table runs_history
    add column steps_done integer not null default 0, add column current_steps json, add column tokens_input bigint not null default 0,
    add column tokens_cached bigint not null default 0, add column tokens_cache_write bigint not null default 0,
    add column tokens_output bigint not null default 0, add column tokens_reasoning bigint not null default 0,
    add column cost bigint not null default 0, add column simulated boolean not null default false;
