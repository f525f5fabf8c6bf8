-- Files that people upload: a read model of them, and the progress of uploads that
-- are not complete yet, which like a lease is not on the log.

-- +goose Up

-- projections/file.go. Name, media type and digest are sealed.
create table files (
    build      integer not null,
    tenant     text collate "C" not null,
    file       text collate "C" not null,
    state      text collate "C" not null,
    name       text not null,
    media_type text not null,
    digest     text not null,
    size       bigint not null,
    blob       text not null,
    used       boolean not null,
    reason     text not null,
    created    timestamptz not null,
    created_by text not null,
    expires    timestamptz not null,
    uploaded   timestamptz,
    updated    timestamptz not null,
    version    bigint not null,
    position   bigint not null,
    valid_from bigint not null,
    primary key (build, tenant, file)
) with (fillfactor = 80);

create index files_state on files (build, tenant, state, file);
create index files_unused on files (build, uploaded) where state = 'ready' and not used;

create table files_history (
    build      integer not null,
    tenant     text collate "C" not null,
    file       text collate "C" not null,
    state      text collate "C" not null,
    name       text not null,
    media_type text not null,
    digest     text not null,
    size       bigint not null,
    blob       text not null,
    used       boolean not null,
    reason     text not null,
    created    timestamptz not null,
    created_by text not null,
    expires    timestamptz not null,
    uploaded   timestamptz,
    updated    timestamptz not null,
    version    bigint not null,
    position   bigint not null,
    valid_from bigint not null,
    valid_to   bigint not null
);

create index files_history_file on files_history (build, tenant, file, valid_to);

-- internal/upload. A part is in the blob store before its row is here. The state
-- of the hash is sealed with the key of the file.
create table upload_parts (
    tenant text collate "C" not null,
    file   text collate "C" not null,
    start  bigint not null,
    size   bigint not null,
    blob   text not null,
    hash   bytea not null,
    primary key (tenant, file, start)
);

-- Room that was promised to files which the read model may not know yet.
create table upload_room (
    tenant text collate "C" not null,
    file   text collate "C" not null,
    size   bigint not null,
    made   timestamptz not null,
    primary key (tenant, file)
);

-- +goose Down
drop table upload_room, upload_parts, files_history, files;
