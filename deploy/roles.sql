-- Makes the roles and logins that the program works with, where its own login may
-- not make them. Run it once per database, before the first `hishamos migrate up`,
-- as one that may make roles:
--
--   psql -v owner=hishamos -v writer=hishamos_app -v reader=hishamos_query \
--        -v writer_password="$WRITER" -v reader_password="$READER" -f roles.sql DATABASE
--
-- owner is an existing login that will own the schema. Afterwards:
--
--   DATABASE_URL=postgres://hishamos@host/db      hishamos migrate up
--   DATABASE_URL=postgres://hishamos_app:...@host/db \
--   HISHAMOS_READER_URL=postgres://hishamos_query:...@host/db  hishamos serve

\set ON_ERROR_STOP on

select 'create role hishamos_writer nologin' where not exists (select from pg_roles where rolname = 'hishamos_writer') \gexec
select 'create role hishamos_reader nologin' where not exists (select from pg_roles where rolname = 'hishamos_reader') \gexec

-- Row security is forced on the owner too; migrations have to see all rows.
grant hishamos_writer to :"owner";
grant create on schema public to :"owner";

create role :"writer" login password :'writer_password' in role hishamos_writer;
create role :"reader" login password :'reader_password' in role hishamos_reader;
