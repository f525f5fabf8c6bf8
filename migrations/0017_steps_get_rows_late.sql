-- A step that is no task gets its row when something happens to it; until then its
-- run's plan tells of it. The read model is rebuilt as its next version.

-- +goose Up
alter table runs add column plan json;

-- +goose Down
alter table runs drop column plan;
