alter table orders add column x int
alter table orders add column if not exists x int not null default 3
alter table orders add column x text default 'y' check (x <> '')
alter table orders add column x timestamptz default now()
alter table orders add column x timestamptz default clock_timestamp()
alter table orders add column x int default pick()
alter table orders add column x int default fixed()
alter table orders add column x uuid default gen_random_uuid()
alter table orders add column x serial
alter table notes add column x bigserial primary key
alter table notes add column x int generated always as identity
alter table notes add column x int generated always as (n + 1) stored
alter table notes add column x int unique
alter table notes add column x int references customers
alter table notes add column x int references customers (id) on delete cascade
alter table notes add column x posint
alter table notes add column x mood default 'ok'
alter table events add column x int default 4
alter table events add column x int default pick()
alter table parent_i add column x int
alter table orders drop column v cascade
alter table orders drop column status
alter table lines drop column order_id
alter table lines drop column id
alter table customers drop column note
alter table orders drop column customer_id cascade
alter table orders drop column id cascade
alter table events drop column v
alter table orders alter column v set default 5
alter table orders alter column v drop default
alter table orders alter v set not null
alter table orders alter column id set not null
alter table notes alter column m set not null
alter table notes alter column u set not null
alter table customers alter column email set not null
alter table notes alter column n drop not null
alter table events alter column v set not null
alter table lines alter column id type bigint
alter table lines alter column order_id type bigint
alter table orders alter column status type varchar(20)
alter table orders alter column status type varchar(5)
alter table orders alter column status type text
alter table orders alter column status set data type varchar
alter table orders alter column tag type text
alter table orders alter column tag type varchar(50)
alter table orders alter column body type varchar
alter table orders alter column body type varchar(100)
alter table orders alter column amount type numeric(12,2)
alter table orders alter column amount type numeric(8,3)
alter table orders alter column amount type numeric
alter table orders alter column at type timestamp
alter table orders alter column body type text using lower(body)
alter table orders alter column body type text using body
alter table customers alter column id type bigint
alter table notes alter column body type varchar
alter table notes alter column tag type varchar(99)
alter table notes alter column n type bigint
alter table plain alter column b type char(9)
alter table plain alter column b type text
alter table plain alter column c type timestamptz
alter table plain alter column c type timestamp(3)
alter table plain alter column d type cidr
alter table plain alter column f type varbit
alter table plain alter column g type varchar(9)[]
alter table plain alter column h type time(6)
alter table plain alter column i type interval(3)
alter table plain alter column a type oid
alter table events alter column v type varchar(10)
alter table orders alter column v set statistics 500
alter table orders alter column body set storage external
alter table orders alter column body set compression pglz
alter table orders alter column v set (n_distinct = 5)
alter table orders alter column v reset (n_distinct)
alter table orders set (fillfactor = 70)
alter table orders set (autovacuum_enabled = false, toast.autovacuum_enabled = false)
alter table orders reset (fillfactor)
alter table orders add constraint c check (v > 0)
alter table orders add constraint c check (v > 0) not valid
alter table orders add check (v > 0)
alter table orders add constraint c unique (v)
alter table orders add unique (id, at)
alter table notes add primary key (n)
alter table notes add constraint p primary key using index notes_n
alter table notes add constraint p primary key using index notes_m
alter table notes add constraint p unique using index notes_n
alter table notes add constraint f foreign key (n) references customers
alter table notes add constraint f foreign key (n) references customers (id) not valid
alter table notes add foreign key (n) references customers (id)
alter table empty_t add foreign key (ref) references side.far (id)
alter table notes add constraint e exclude using btree (id with =)
alter table events add constraint c check (at >= 0)
alter table events add primary key (at)
[18] alter table events add foreign key (at) references customers (id) not valid
alter table events add foreign key (at) references customers (id)
alter table orders validate constraint v_known
alter table orders validate constraint id_known
alter table lines validate constraint lines_note
alter table lines validate constraint lines_order_id_fkey
alter table orders drop constraint v_known
alter table orders drop constraint orders_customer_id_fkey
alter table lines drop constraint lines_order_id_fkey
alter table orders drop constraint orders_pkey cascade
alter table lines drop constraint lines_pkey
alter table lines alter constraint lines_order_id_fkey deferrable
alter table orders rename to purchases
alter table orders rename column v to w
alter table orders rename v to w
alter table orders rename constraint v_known to known
alter table lines rename constraint lines_pkey to lines_key
alter table events rename to happenings
alter table events rename column v to w
alter table orders set schema side
alter table lines set schema side
alter table orders owner to clerk
alter table lines owner to clerk
alter table events owner to clerk
alter table orders enable row level security
alter table orders force row level security
alter table orders disable trigger touched
alter table orders enable trigger all
alter table orders disable trigger all
alter table lines disable trigger user
alter table orders enable always trigger touched
alter table notes disable rule quiet
alter table orders cluster on orders_v
alter table orders set without cluster
alter table plain set unlogged
alter table notes set unlogged
alter table fast set logged
alter table orders set tablespace pg_default
[15] alter table orders set access method heap
alter table orders replica identity full
alter table orders replica identity nothing
alter table lines replica identity using index lines_pkey
alter table orders inherit parent_i
alter table child_i no inherit parent_i
alter table lines alter column id drop default
alter table generated_t alter column id drop identity
alter table generated_t alter column id set generated by default
alter table generated_t alter column v drop default
alter table notes alter column n add generated always as identity
alter table events attach partition fitting for values from (20) to (30)
alter table events attach partition loose for values from (20) to (30)
alter table parted attach partition fitting for values from (20) to (30)
alter table events attach partition loose default
alter table events detach partition events_1
alter table parted detach partition parted_1
alter table orders add column x int, add column y int default pick()
alter table orders add column x int, alter column v set statistics 9
alter table if exists orders add column x int
alter table only events alter column v set default 'x'
alter table customers add column x int, add constraint k check (x > 0) not valid
alter index orders_v rename to orders_w
alter index orders_v set (fillfactor = 80)
alter index events_at rename to events_at2
alter index if exists orders_v rename to orders_w
alter view order_view rename to ov
alter view order_view owner to clerk
alter view order_view set (security_barrier = true)
alter view order_view alter column v set default 4
alter materialized view totals rename to totals2
alter materialized view totals owner to clerk
alter sequence free_seq restart
alter sequence free_seq increment by 5
alter sequence free_seq owned by notes.id
alter sequence lines_id_seq as bigint
alter sequence free_seq rename to free2
alter sequence free_seq owner to clerk
alter type mood add value 'happy'
alter type mood add value if not exists 'happy' before 'sad'
alter type mood rename value 'sad' to 'blue'
alter type mood rename to moods2
alter type mood owner to clerk
alter type pair add attribute c int
alter type pair drop attribute b cascade
alter type pair rename attribute a to z
alter type pair rename to pairs
alter domain posint add constraint small check (value < 100)
alter domain posint add constraint small check (value < 100) not valid
alter domain posint set not null
alter domain posint drop not null
alter domain posint set default 5
alter domain posint drop constraint posint_check
alter domain posint validate constraint posint_check
alter domain posint rename to pint
alter function touch() owner to clerk
alter trigger touched on orders rename to touched2
alter policy own on orders using (false)
alter rule quiet on notes rename to loud
alter statistics orders_stats set statistics 100
alter schema side rename to other_side
alter role clerk set work_mem = '8MB'
alter role clerk createdb
alter default privileges in schema side grant select on tables to clerk
create table fresh (id int primary key, v text)
create table fresh (id int references customers)
create table fresh (id int, foreign key (id) references customers (id))
create table if not exists orders (id int)
create table if not exists fresh (id int)
create table fresh (like orders)
create table fresh (like orders including all)
create table fresh () inherits (parent_i)
create table fresh partition of events for values from (20) to (30)
create table fresh partition of parted for values from (20) to (30)
create table fresh partition of events default
create table fresh as select * from orders
create table fresh as select o.id from orders o join customers c on c.id = o.customer_id
create table fresh as select id from orders with no data
create temp table fresh (id int)
create unlogged table fresh (id int)
create table fresh (m mood, p posint, q pair)
create table fresh (s serial primary key, r int references orders (id) on delete cascade)
select * into fresh from orders
create index on orders (at)
create index fresh_i on orders (v) where v > 3
create unique index fresh_i on orders (id, v)
create index if not exists fresh_i on orders using btree (at)
create index on only events (v)
create index fresh_i on events (v)
create index fresh_i on totals (n)
create index fresh_i on orders (lower(body))
create view v2 as select id from orders
create or replace view order_view as select id, v from orders
create or replace view order_view as select id, v, body from orders
create materialized view m2 as select * from orders
create materialized view m2 as select * from orders with no data
create trigger t2 after insert on orders for each row execute function touch()
create or replace trigger touched before update on orders for each row execute function touch()
create constraint trigger t2 after insert on orders deferrable for each row execute function touch()
create trigger t2 after insert on events for each row execute function touch()
create rule r2 as on insert to notes do nothing
create or replace rule quiet as on delete to notes do instead nothing
create policy p2 on orders using (true)
create statistics s2 on v, at from orders
create sequence q2
create sequence q2 owned by notes.id
create type t3 as enum ('a')
create type t3 as (a int)
create domain d3 as int check (value > 1)
create function f3() returns int language sql as 'select 1'
create or replace function fixed() returns int language sql stable as 'select 2'
create schema s3
create schema if not exists side
create extension if not exists plpgsql
create role r3
create user r3 password 'x'
create publication p3 for table orders
create publication p4
create aggregate agg3 (int) (sfunc = int4pl, stype = int)
create cast (mood as int) with inout
create collation c3 from "C"
drop table notes
drop table if exists notes
drop table if exists missing
drop table lines
drop table orders cascade
drop table customers cascade
drop table events
drop table events_1
drop table parted_1
drop table plain, notes
drop table lines, orders cascade
drop table parent_i cascade
drop index orders_v
drop index orders_v, customers_email
drop index events_at
drop index if exists missing
drop view order_view
drop materialized view totals
drop sequence free_seq
drop sequence lines_id_seq cascade
drop type mood cascade
drop domain posint cascade
drop function fixed()
drop trigger touched on orders
drop policy own on orders
drop rule quiet on notes
drop statistics orders_stats
drop role clerk
truncate notes
truncate table lines
truncate orders cascade
truncate orders, lines
truncate only notes
truncate events
truncate lines restart identity
truncate events_1
comment on table orders is 'x'
comment on column orders.v is 'x'
comment on index orders_v is 'x'
comment on view order_view is 'x'
comment on constraint v_known on orders is 'x'
comment on trigger touched on orders is 'x'
comment on policy own on orders is 'x'
comment on function touch() is 'x'
comment on schema side is 'x'
comment on type mood is 'x'
comment on sequence free_seq is 'x'
comment on materialized view totals is 'x'
comment on role clerk is 'x'
comment on extension plpgsql is 'x'
grant select on orders to clerk
grant select, insert on table orders, customers to clerk
grant all on all tables in schema side to clerk
grant usage on schema side to clerk
grant usage on sequence free_seq to clerk
grant execute on function touch() to clerk
revoke select on orders from clerk
revoke all on table orders from public
grant clerk to postgres
lock table orders
lock orders in share mode
lock table only orders in row exclusive mode nowait
lock table events in access share mode
lock orders, customers in exclusive mode
lock table order_view in share mode
refresh materialized view totals
refresh materialized view totals with no data
refresh materialized view concurrently totals
reindex table orders
reindex index orders_v
reindex table events_1
reindex (verbose) table notes
cluster orders using orders_v
cluster notes using notes_n
analyze orders
analyze orders (v)
analyze events
analyze notes, plain
insert into customers values (1000, 'x', 'y', 'z')
insert into orders (id, customer_id, v) values (1000, 1, 1000)
insert into orders select * from orders where false
insert into events values (3, 'x')
insert into lines (order_id) values (1)
insert into child_i select id from customers
insert into customers values (1, 'x') on conflict do nothing
update orders set body = 'z' where id = 1
update orders set body = 'z'
update orders set customer_id = 2 where id = 1
update customers set email = 'x'
update notes set body = c.email from customers c where c.id = notes.id
update events set v = 'x'
update customers set id = 1 where id = 1
update only parent_i set v = 1
update parent_i set v = 1
delete from plain
delete from lines where id = 1
delete from orders where id = 1
delete from only parent_i
with gone as (delete from plain returning a) insert into child_i select a, a from gone
[15] merge into plain n using customers c on c.id = n.a when matched then update set b = 'x'
select * from orders
select * from orders where id = 1 for update
select count(*) from events
select * from order_view
select 1
select o.id from orders o join customers c on c.id = o.customer_id for share of o
table plain
values (1)
copy child_i (id, v) from stdin
copy plain to stdout
copy (select * from orders) to stdout
select setval('free_seq', 5)
select nextval('lines_id_seq')
select pg_catalog.set_config('search_path', '', true)
explain select * from orders
explain analyze update orders set body = 'q'
set constraints all deferred
notify x
alter table bounded drop constraint at_positive
alter table bounded rename constraint at_positive to positive
[18] alter table orders add constraint c not null at not valid
[18] alter table orders add constraint c not null at
[18] alter table notes add column x int generated always as (n + 1) virtual
alter table plain add column x int not null default 3, add constraint c check (x > 0)
alter table plain add column x char(3) default 'abc' not null, drop column b
alter table plain alter column e type bigint[]
alter table plain alter column e type int[]
alter table plain alter column b set not null
alter table orders alter column amount type numeric(10,2), alter column status type varchar(30)
create table fresh (at int not null, v text) partition by range (at)
alter table plain add primary key using index plain_a
alter table plain add constraint p primary key using index plain_a
[15] alter table notes add unique nulls distinct (id)
[15] alter table notes add unique nulls not distinct (id)
alter table notes alter column n add generated by default as identity
alter table computed alter column v drop expression
[17] alter table computed alter column v set expression as (id * 3)
alter table generated_t alter column id restart
alter table generated_t alter column id set generated always
alter table orders alter column body set compression default
[16] alter table orders alter column body set storage default
[17] alter domain posint add constraint known not null
alter domain posint drop default
alter domain posint rename constraint posint_check to positive
alter domain posint set schema side
alter index customers_email depends on extension plpgsql
alter index customers_lower alter column 1 set statistics 10
alter index parted_at attach partition parted_1_at
alter index customers_email set tablespace pg_default
alter materialized view totals rename column n to m
alter materialized view totals set schema side
alter materialized view totals set (fillfactor = 70)
alter publication pub add table customers
alter publication pub rename to pub2
[15] alter sequence free_seq set unlogged
alter view order_view alter column v drop default
alter view order_view rename column v to w
alter view order_view set schema side
alter sequence free_seq set schema side
checkpoint
close all
deallocate all
comment on constraint posint_check on domain posint is 'x'
create table fresh (x) as select id from orders
create table fresh of row_t
create publication p5 for all tables
create schema authorization clerk
drop foreign table abroad
drop materialized view name_counts cascade
drop publication pub
drop schema bare
drop domain if exists missing
drop view names cascade
drop view above
alter table notes enable always rule quiet
lock orders in row share mode
lock orders in share row exclusive mode
lock orders in share update exclusive mode
alter table orders no force row level security
alter table typed not of
alter table loose of row_t
set role clerk
set lock_timeout = '3s'
show all
alter table notes set without oids
alter table orders set (user_catalog_table = true)
alter table empty_t validate constraint empty_fk
with found as (select * from plain) select * from found
with found as (select * from plain for update) select * from found
with found as (select * from plain where a = 1 for update) select * from found
with gone as (delete from plain where a = 1 returning a) select * from gone
insert into child_i select id, id from customers for update
insert into child_i select id, id from customers where id = 1 for update
copy (update plain set b = 'x' returning a) to stdout
copy (update plain set b = 'x' where a = 1 returning a) to stdout
copy (select a from plain for share) to stdout
copy (select a from plain where a = 1 for share) to stdout
[17] merge into plain n using customers c on c.id = n.a when not matched by source then delete
select * from orders for update
update orders set body = 'z' where true
update orders set body = (select max(name) from customers where id = 1)
alter table customers drop column name cascade
drop index customers_lower
drop type if exists missing
update order_view set v = 2000 where id = 1
update order_view set id = id
delete from order_view where id = 1000
insert into order_view (id, v) values (2000, 2000)
select * from order_view where id = 1 for update
select * from order_view for update
with x as (update order_view set v = 2001 where id = 1 returning id) select * from x
drop view order_view cascade
comment on tablespace pg_default is 'x'
comment on language plpgsql is 'x'
comment on statistics orders_stats is 'x'
comment on publication pub is 'x'
comment on database postgres is 'x'
insert into customers values (3) on conflict (id) do update set note = 'z'
grant connect on database postgres to clerk
grant usage on type mood to clerk
select pg_advisory_xact_lock(42)
create publication p6 for table parent_i
alter publication pub add table child_i, events
alter table orders set (autovacuum_enabled = false), alter column v set not null
alter table orders alter column v set statistics 100, set (toast.autovacuum_enabled = false)
alter table orders alter column v set default nextval('free_seq')
alter table orders add column x int default nextval('public.free_seq')
create table fresh (like lines including all)
create table fresh (id int default nextval('free_seq'))
select nextval('free_seq')
lock only parent_i in share mode
update only parent_i set v = 2 where id = 1
