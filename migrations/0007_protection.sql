-- What protecting content needs beside the events: which key store holds the keys
-- of the log, and a read model of what was ordered to be erased.

-- +goose Up

-- Written once, at the first start with a key store.
create table key_store (
    one boolean primary key default true check (one),
    id  text not null
);

alter table access_tokens add column holder text not null default '';

create table erasures (
    build     integer not null,
    tenant    text collate "C" not null,
    erasure   text collate "C" not null,
    subject   text not null,
    id        text not null,
    keys      json,
    completed boolean not null,
    ordered   timestamptz not null,
    updated   timestamptz not null,
    version   bigint not null,
    position  bigint not null,
    primary key (build, tenant, erasure)
) with (fillfactor = 80);

create index erasures_position on erasures (build, position);

-- +goose Down
drop table erasures, key_store;
alter table access_tokens drop column holder;
