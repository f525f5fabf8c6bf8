-- Which blob store holds the blobs of the log: the address of a mark in it.

-- +goose Up

-- Written once, at the first start with a blob store.
create table blob_store (
    one  boolean primary key default true check (one),
    mark text not null
);

-- +goose Down
drop table blob_store;
