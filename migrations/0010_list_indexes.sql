-- Lists are read in the order of an index, a page at a time.

-- +goose Up
drop index usage_days_day;
drop index agent_days_day;
create index usage_days_day on usage_days (build, tenant, day, workflow);
create index agent_days_day on agent_days (build, tenant, day, agent);
create index runs_started_by on runs (build, tenant, started_by, started, run);
create index steps_workflow on steps (build, tenant, workflow, created, run, path) where agent <> '';
create index steps_history_path on steps_history (build, tenant, run, path, valid_to);
drop index steps_history_step;

-- +goose Down
drop index usage_days_day;
drop index agent_days_day;
drop index runs_started_by;
drop index steps_workflow;
drop index steps_history_path;
create index usage_days_day on usage_days (build, tenant, day);
create index agent_days_day on agent_days (build, tenant, day);
create index steps_history_step on steps_history (build, tenant, run, valid_to);
