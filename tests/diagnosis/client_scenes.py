"""Scenes in the words of applications, frameworks, queue libraries and migration tools, labelled as a DBA would."""

from tests.diagnosis.scene_shapes import ORDERS, Row, Search

#: Rows of `jobs` have an id, a state (0.1 % are ready), processed (0.1 % are not), and one of three kinds.
_NAPS = "create function naps(int) returns int language plpgsql as 'begin perform pg_sleep(9); return $1; end'"
_AGES = (
    f"{_NAPS}; alter table jobs add created_at timestamptz default now(), add priority int default 0, "
    "add queue text default 'default', add scheduled_at timestamptz default now(), add ref text, add locked_by text;"
    "update jobs set ref = 'r' || id, created_at = now() - id * interval '1 minute', queue = 'q' || id % 5, "
    "scheduled_at = now() - interval '1 day'; analyze jobs"
)
_PULL = (
    "select id from jobs where state = 'ready' and queue = 'q2' and scheduled_at <= now() "
    "order by priority, scheduled_at, id limit {} for update skip locked"
)
_OLDEST = "select id from jobs where state = 'ready' order by created_at limit {} for update skip locked"
_ALL_READY = "; update jobs set queue = 'q2' where state = 'ready'; analyze jobs"

#: Queues: what takes the next jobs.
PULLS = (
    Search(
        "pulled one by one by age",
        f"update jobs set kind = naps(id) where id = ({_OLDEST.format(1)}) returning *",
        True,
        _AGES,
    ),
    Search(
        "pulled one by one with a partial index",
        f"update jobs set kind = naps(id) where id = ({_OLDEST.format(1)}) returning *",
        False,
        f"{_AGES}; create index on jobs (created_at) where state = 'ready'",
    ),
    Search(
        "pulled one by one by age with an index on that",
        f"update jobs set kind = naps(id) where id = ({_OLDEST.format(1)}) returning *",
        False,
        f"{_AGES}; create index on jobs (created_at)",
    ),
    Search(
        "pulled one by one in no order",
        "update jobs set kind = naps(id) where id = (select id from jobs where state = 'ready' limit 1 "
        "for update skip locked)",
        False,
        _AGES,
    ),
    Search(
        "pulled by the key",
        "update jobs set kind = naps(id) where id = (select id from jobs where state = 'ready' order by id limit 1 "
        "for update skip locked)",
        False,
        _AGES,
    ),
    Search(
        "pulled ten by ten by age",
        f"update jobs set kind = naps(id) where id in ({_OLDEST.format(10)})",
        True,
        _AGES,
    ),
    Search(
        "pulled into an array",
        f"update jobs set kind = naps(id) where id = any (array({_OLDEST.format(9)}))",
        True,
        _AGES,
    ),
    Search(
        "pulled as river does without its index",
        f"with locked_jobs as ({_PULL.format(100)}) update jobs set kind = naps(jobs.id), locked_by = 'w1' "
        "from locked_jobs where jobs.id = locked_jobs.id returning jobs.*",
        True,
        f"{_AGES}{_ALL_READY}",
    ),
    Search(
        "pulled as river does",
        f"with locked_jobs as ({_PULL.format(100)}) update jobs set kind = naps(jobs.id), locked_by = 'w1' "
        "from locked_jobs where jobs.id = locked_jobs.id returning jobs.*",
        False,
        f"{_AGES}{_ALL_READY}; create index on jobs (state, queue, priority, scheduled_at, id)",
    ),
    Search(
        "pulled as pg boss does without its index",
        "with next as (select id from jobs where queue = 'q2' and state < 's' and state = 'ready' and "
        "scheduled_at < now() order by priority desc, created_at, id limit 10 for update skip locked) "
        "update jobs j set kind = naps(j.id), locked_by = 'w' from next where j.id = next.id returning j.id",
        True,
        f"{_AGES}{_ALL_READY}",
    ),
    Search(
        "pulled as oban does",
        "update jobs as o0 set kind = naps(o0.id) from (select so0.id as id from jobs as so0 where "
        "(so0.state = 'ready') and (so0.queue = 'q2') order by so0.priority, so0.scheduled_at, so0.id limit 10 "
        "for update skip locked) as s1 where (o0.id = s1.id) returning o0.id",
        True,
        f"{_AGES}{_ALL_READY}",
    ),
    Search(
        "pulled as good job does without its index",
        "select naps(jobs.id) from jobs where jobs.id in (with rows as materialized (select jobs.id from jobs where "
        "jobs.queue = 'q2' and jobs.state = 'ready' order by priority desc, created_at asc) select rows.id from rows "
        "where pg_try_advisory_xact_lock(rows.id) limit 10) for update",
        True,
        f"{_AGES}{_ALL_READY}",
    ),
    Search(
        "pulled as delayed job does",
        "update jobs set kind = naps(id), locked_by = 'host:web1 pid:7' where id in (select id from jobs where "
        "((scheduled_at <= now() and (locked_by is null)) or locked_by = 'host:web1 pid:7') and processed = false "
        "order by priority asc, scheduled_at asc limit 5 for update) returning *",
        False,
        f"{_AGES}; create index delayed_jobs_priority on jobs (priority, scheduled_at)",
    ),
    Search(
        "pulled from an outbox by Django",
        'select naps("jobs"."id") from "jobs" where not "jobs"."processed" order by "jobs"."created_at" asc '
        "limit 100 for update skip locked",
        True,
        _AGES,
    ),
    Search(
        "pulled from an outbox of which most is left",
        'select naps("jobs"."id") from "jobs" where "jobs"."processed" order by "jobs"."created_at" asc '
        "limit 100 for update skip locked",
        False,
        _AGES,
    ),
    Search(
        "pulled by what never ran",
        "update jobs set kind = naps(id) where id in (select id from jobs where locked_by is null order by created_at "
        "limit 9 for update skip locked)",
        True,
        f"{_AGES}; update jobs set locked_by = 'w' where state = 'done'; analyze jobs",
    ),
    Search(
        "pulled by what mostly never ran",
        "update jobs set kind = naps(id) where id in (select id from jobs where locked_by is null order by id "
        "limit 9 for update skip locked)",
        False,
        _AGES,
    ),
    Search(
        "pulled in a cte that changes them",
        "with pulled as (update jobs set kind = naps(id) where id in (select id from jobs where state = 'ready' "
        "order by created_at limit 9 for update skip locked) returning id) select count(*) from pulled",
        True,
        _AGES,
    ),
    Search(
        "rescued after a crash",
        "update jobs set kind = naps(id), locked_by = null where locked_by = 'w7' and state = 'done'",
        True,
        f"{_AGES}; update jobs set locked_by = 'w' || id % 900; analyze jobs",
    ),
    Search(
        "deleted in batches by their age",
        "delete from jobs where id in (select id from jobs where created_at < now() - interval '7 days' order by id "
        "limit 20) and naps(id) > 0",
        False,
        _AGES,
    ),
)

_REFERENCES = (
    f"{_AGES}; create table wanted (id int primary key, ref text, note int);"
    "insert into wanted select g, 'r' || g, g from"
)
_FEW = f"{_REFERENCES} generate_series(7, 9) g; analyze wanted"
_MANY = f"{_REFERENCES} generate_series(7, 9000) g; analyze wanted"

#: Rows that another table tells.
SEMI_JOINS = (
    Search(
        "in few that a query gives", "update jobs set kind = naps(id) where ref in (select ref from wanted)", True, _FEW
    ),
    Search(
        "in few that a query gives to Django",
        'update "jobs" set "kind" = naps("jobs"."id") where "jobs"."ref" in (select U0."ref" from "wanted" U0 '
        'where U0."note" < 9)',
        True,
        _FEW,
    ),
    Search(
        "in many that a query gives",
        "update jobs set kind = naps(id) where ref in (select ref from wanted)",
        False,
        _MANY,
    ),
    Search(
        "in few that a query gives and with an index",
        "update jobs set kind = naps(id) where ref in (select ref from wanted)",
        False,
        f"{_FEW}; create index on jobs (ref)",
    ),
    Search(
        "in one of many that a query gives by its key",
        "update jobs set kind = naps(id) where ref in (select ref from wanted where id = 7)",
        True,
        _MANY,
    ),
    Search(
        "in few of many that a query gives",
        "update jobs set kind = naps(id) where ref in (select ref from wanted where note in (7, 8))",
        True,
        _MANY,
    ),
    Search(
        "that any of few names", "update jobs set kind = naps(id) where ref = any (select ref from wanted)", True, _FEW
    ),
    Search(
        "for which one of few exists",
        "delete from jobs j where exists (select 1 from wanted w where w.ref = j.ref) and naps(j.id) > 0",
        True,
        _FEW,
    ),
    Search(
        "for which one of few exists to Hibernate",
        "update jobs j1_0 set kind = naps(j1_0.id) where exists (select 1 from wanted w1_0 where w1_0.ref = j1_0.ref "
        "and w1_0.note > 1)",
        True,
        _FEW,
    ),
    Search(
        "for which one of many exists",
        "delete from jobs j where exists (select 1 from wanted w where w.ref = j.ref) and naps(j.id) > 0",
        False,
        _MANY,
    ),
    Search(
        "for which none of few exists",
        "delete from jobs j where not exists (select 1 from wanted w where w.ref = j.ref) and naps(j.id) > 0",
        False,
        _FEW,
    ),
    Search(
        "in none that a query gives",
        "update jobs set kind = naps(id) where ref not in (select ref from wanted)",
        False,
        _FEW,
    ),
    Search(
        "for which an unlike one exists",
        "delete from jobs j where exists (select 1 from wanted w where w.ref <> j.ref) and naps(j.id) > 0",
        False,
        _FEW,
    ),
    Search(
        "duplicates of themselves",
        "delete from jobs a using jobs b where a.id < b.id and a.ref = b.ref and naps(a.id) > 0",
        False,
        f"{_AGES}; update jobs set ref = 'r' || id % 9999; analyze jobs",
    ),
    Search(
        "joined and locked",
        "select naps(j.id) from jobs j join wanted w on w.ref = j.ref for update of j",
        True,
        _FEW,
    ),
    Search(
        "joined the other way round and locked",
        "select naps(j.id) from wanted w inner join jobs j on (j.ref = w.ref) where w.note < 9 for update of j",
        True,
        _FEW,
    ),
    Search(
        "joined to many and locked",
        "select naps(j.id) from jobs j join wanted w on w.ref = j.ref for update of j",
        False,
        _MANY,
    ),
    Search(
        "joined by the key and locked",
        "select naps(j.id) from wanted w join jobs j on j.id = w.id for update of j",
        False,
        _FEW,
    ),
    Search(
        "of few wanted of two tables",
        "update jobs set kind = naps(jobs.id) from wanted w join labels l on l.id = w.id where w.ref = jobs.ref",
        True,
        f"{_FEW}; create table labels (id int primary key); insert into labels values (7), (8), (9); analyze labels",
    ),
    Search(
        "of few wanted in a cte",
        "with w as (select ref from wanted where note < 9) update jobs set kind = naps(jobs.id) from w "
        "where w.ref = jobs.ref",
        True,
        _FEW,
    ),
    Search(
        "of values in the text",
        "update jobs set kind = naps(jobs.id) from (values ('r7', 1), ('r8', 2)) as v (ref, n) where v.ref = jobs.ref",
        True,
        _AGES,
    ),
    Search(
        "of values in the text by the key",
        "update jobs set kind = naps(jobs.id) from (values (7, 1), (8, 2)) as v (id, n) where v.id = jobs.id",
        False,
        _AGES,
    ),
)

_MAILS = (
    f"{_AGES}; alter table jobs add email varchar(99), add doc jsonb, add tags text[], add during tstzrange, "
    "add local_time timestamp; update jobs set email = 'User' || id || '@example.com', doc = jsonb_build_object("
    "'user_id', id, 'a', jsonb_build_object('b', id), 'inner', jsonb_build_object('deep_id', id)), "
    "tags = array['t' || id, 'all'], during = tstzrange(created_at, created_at + interval '1 minute'), "
    "local_time = created_at; analyze jobs"
)

_PARTED = (
    "create table parted (id int, kind int, ref text, created_at timestamptz) partition by range (created_at);"
    "create table parted_old partition of parted for values from (minvalue) to (now() - interval '5 days');"
    "create table parted_new partition of parted default;"
)
_RANGES = "as long_query: of a range type it is not known how many rows contain a value"

#: Conditions as frameworks write them, where the text has more than one way to be read.
FORMS = (
    Search("that are not processed, tested", "update jobs set kind = naps(id) where processed is false", True, _AGES),
    Search("by an optional filter", "update jobs set kind = naps(id) where ('r7' is null or ref = 'r7')", True, _MAILS),
    Search(
        "by a tag as any beside its index",
        "update jobs set kind = naps(id) where 't7' = any (tags)",
        True,
        f"{_MAILS}; create index on jobs using gin (tags)",
    ),
    Search(
        "of arrays in the text",
        "update jobs set kind = naps(jobs.id) from unnest(array['r7', 'r8'], array[1, 2]) as v (ref, n) "
        "where v.ref = jobs.ref",
        True,
        _AGES,
    ),
    Search(
        "of arrays in the text by the key",
        "update jobs set kind = naps(jobs.id) from unnest(array[7, 8], array[1, 2]) as v (id, n) where v.id = jobs.id",
        False,
        _AGES,
    ),
)

#: Queues of which nearly all rows have one value, and statements that want the others.
OTHERS = (
    Search("that are not done", "update jobs set kind = naps(id) where state <> 'done'", True, _AGES),
    Search(
        "that Django excludes",
        'update "jobs" set "kind" = naps(id) where not ("jobs"."state" = \'done\')',
        True,
        _AGES,
    ),
    Search(
        "that are neither done nor lost",
        "delete from jobs where state not in ('done', 'lost') and naps(id) > 0",
        True,
        _AGES,
    ),
    Search(
        "that are not done by age",
        "select naps(id) from jobs where state != 'done' order by created_at limit 5 for update skip locked",
        True,
        _AGES,
    ),
    Search("that are not ready", "update jobs set kind = naps(id) where state <> 'ready'", False, _AGES),
    Search(
        "that are not done or old",
        "update jobs set kind = naps(id) where state <> 'done' or created_at < now()",
        False,
        _AGES,
    ),
    Search(
        "that are not one of three kinds",
        "update jobs set kind = naps(id) where kind not in (1, 2)",
        False,
        _AGES,
    ),
    Search(
        "that are not done with a partial index",
        "update jobs set kind = naps(id) where state <> 'done'",
        False,
        f"{_AGES}; create index on jobs (priority) where state <> 'done'",
    ),
    Search(
        "by a reference whose lower case has an index",
        "update jobs set kind = naps(id) where ref = 'r7'",
        True,
        f"{_AGES}; create unique index on jobs (lower(ref))",
    ),
    Search(
        "by a reference whose cast has an index",
        "update jobs set kind = naps(id) where ref = 'r7'",
        False,
        f"{_AGES}; create index on jobs ((ref::varchar))",
    ),
)

#: Conditions as frameworks write them.
CONDITIONS = (
    Search("by a key cast to text", "update jobs set kind = naps(id) where id::text = '7'", True, _MAILS),
    Search(
        "by a key cast by Hibernate", "update jobs set kind = naps(id) where cast(id as varchar) = '7'", True, _MAILS
    ),
    Search(
        "by an email in lower case",
        "update jobs set kind = naps(id) where lower(email) = 'user7@example.com'",
        True,
        _MAILS,
    ),
    Search(
        "by emails in lower case",
        "update jobs set kind = naps(id) where lower(email) in ('user7@example.com', 'user8@example.com')",
        True,
        _MAILS,
    ),
    Search(
        "by an email in lower case that has its index",
        "update jobs set kind = naps(id) where lower(email) = 'user7@example.com'",
        False,
        f"{_MAILS}; create index on jobs (lower(email))",
    ),
    Search(
        "by an email to Django iexact",
        'update "jobs" set "kind" = naps("jobs"."id") where upper("jobs"."email"::text) = upper(\'user7@example.com\')',
        True,
        _MAILS,
    ),
    Search(
        "by an email to Spring ignore case",
        "select naps(j1_0.id) from jobs j1_0 where upper(j1_0.email)=upper('user7@example.com') for no key update",
        True,
        _MAILS,
    ),
    Search(
        "by the beginning of an email to Django",
        'update "jobs" set "kind" = naps("jobs"."id") where "jobs"."email"::text like \'User77%\'',
        True,
        _MAILS,
    ),
    Search("by the beginning of an email", "update jobs set kind = naps(id) where email like 'User77%'", True, _MAILS),
    Search(
        "by a piece of an email",
        "update jobs set kind = naps(id) where email ilike '%ser777@%'",
        True,
        _MAILS,
    ),
    Search(
        "by a day as a function",
        "update jobs set kind = naps(id) where date(local_time) = (select date(max(local_time)) from jobs)",
        True,
        _MAILS,
    ),
    Search(
        "by a day that is truncated",
        "update jobs set kind = naps(id) where date_trunc('day', local_time) = current_date - 1",
        True,
        _MAILS,
    ),
    Search(
        "by a year",
        "update jobs set kind = naps(id) where extract(year from local_time) = extract(year from now())",
        False,
        _MAILS,
    ),
    Search(
        "by a range with two ends",
        "update jobs set kind = naps(id) where created_at between now() - interval '3 hours' and now() "
        "- interval '2 hours'",
        True,
        _MAILS,
    ),
    Search(
        "by a range with two ends and an index",
        "update jobs set kind = naps(id) where created_at >= now() - interval '3 hours' and created_at < now()",
        False,
        f"{_MAILS}; create index on jobs (created_at)",
    ),
    Search(
        "by a moment in their time",
        "update jobs set kind = naps(id) where during @> now() - interval '2 hours'",
        True,
        _MAILS,
        wrong=_RANGES,
    ),
    Search(
        "by an overlap with their time",
        "update jobs set kind = naps(id) where during && tstzrange(now() - interval '2 hours', now() - interval "
        "'1 hour')",
        True,
        _MAILS,
        wrong=_RANGES,
    ),
    Search(
        "by a moment in their time that has its index",
        "update jobs set kind = naps(id) where during @> now() - interval '2 hours'",
        False,
        f"{_MAILS}; create index on jobs using gist (during)",
    ),
    Search("by a field", "update jobs set kind = naps(id) where doc->>'user_id' = '7'", True, _MAILS),
    Search(
        "by a field to Prisma",
        'select naps("public"."jobs"."id") from "public"."jobs" where '
        '("public"."jobs"."doc"#>array[\'user_id\']::text[])::jsonb = \'7\' for update',
        True,
        _MAILS,
    ),
    Search(
        "by a field by its path",
        "update jobs set kind = naps(id) where doc #>> '{{a,b}}' = '7'".replace("{{", "{").replace("}}", "}"),
        True,
        _MAILS,
    ),
    Search(
        "by a field of a field as a number",
        "update jobs set kind = naps(id) where (doc->'inner'->>'deep_id')::int = 7",
        True,
        _MAILS,
    ),
    Search("by a part of a document", "update jobs set kind = naps(id) where doc @> '{\"user_id\": 7}'", True, _MAILS),
    Search(
        "by a part of a document that has its index",
        "update jobs set kind = naps(id) where doc @> '{\"user_id\": 7}'",
        False,
        f"{_MAILS}; create index on jobs using gin (doc jsonb_path_ops)",
    ),
    Search(
        "by a field that has its index",
        "update jobs set kind = naps(id) where doc->>'user_id' = '7'",
        False,
        f"{_MAILS}; create index on jobs ((doc->>'user_id'))",
    ),
    Search("by a tag", "update jobs set kind = naps(id) where tags @> array['t7']", True, _MAILS),
    Search("by one of two tags", "update jobs set kind = naps(id) where tags && array['t7', 't8']", True, _MAILS),
    Search("by a tag as any", "update jobs set kind = naps(id) where 't7' = any (tags)", True, _MAILS),
    Search(
        "by one column or another",
        "update jobs set kind = naps(id) where ref = 'r7' or email = 'User7@example.com'",
        True,
        _MAILS,
    ),
    Search(
        "by one column or another that has an index",
        "update jobs set kind = naps(id) where id = 7 or email = 'User7@example.com'",
        True,
        _MAILS,
    ),
    Search(
        "by a row of columns",
        "delete from jobs where (ref, email) in (('r7', 'User7@example.com'), ('r8', 'x')) and naps(id) > 0",
        True,
        _MAILS,
    ),
    Search(
        "by a column of a query around it",
        "update jobs set kind = naps(id) where id in (select id from jobs where ref = 'r7')",
        True,
        _MAILS,
    ),
    Search(
        "by a sum of columns",
        "update jobs set kind = naps(id) where id + kind = 7",
        True,
        _MAILS,
        wrong="how many rows a calculation with two columns finds is not known",
    ),
    Search(
        "of one parameter that is cast",
        "update jobs set kind = naps(id) where ref = 'r7'::text::varchar",
        True,
        _MAILS,
    ),
    Search(
        "by a join of its partitions",
        "update parted set kind = naps(id) where ref = 'r7'",
        True,
        f"{_AGES}; {_PARTED}"
        "insert into parted select id, kind, ref, created_at from jobs; "
        "insert into parted select id + 20000, kind, 's' || ref, created_at from jobs; analyze parted",
        table="parted",
    ),
    Search(
        "of partitions by their key and more",
        "update parted set kind = naps(id) where ref = 'r7' and created_at > now() - interval '2 days'",
        False,
        f"{_AGES}; {_PARTED}"
        "insert into parted select id, kind, ref, created_at from jobs; create index on parted (ref); analyze parted",
        table="parted",
    ),
)

SEARCHES = (*PULLS, *SEMI_JOINS, *OTHERS, *CONDITIONS, *FORMS)

_READ, _WRITE, _ROW, _CHANGE = (
    "select from orders",
    "insert into orders values (99999, 1)",
    "update orders set v = 2 where id = 7",
    "alter table orders add column wanted int",
)
_UPDATE = "update orders set v = 1 where id = 7"
_CHILD = "create table lines (id serial primary key, order_id int references orders)"
_TRIGGER = (
    "create function nothing() returns trigger language plpgsql as 'begin return new; end';"
    "create trigger zz before insert on orders for each row execute function nothing()"
)
_DJANGO = "create table django_migrations (id serial, app text, name text, applied timestamptz)"
_IDLE = "idle_in_transaction"
_CLUSTERED = "alter table orders cluster on orders_pkey"

ROWS = (
    # Migrations, as tools write them.
    Row(
        "Django adds a column with a default",
        "migration",
        (
            'ALTER TABLE "orders" ADD COLUMN "note" varchar(20) DEFAULT \'\' NOT NULL',
            'ALTER TABLE "orders" ALTER COLUMN "note" DROP DEFAULT',
        ),
        _READ,
        setup=_DJANGO,
    ),
    Row(
        "Django makes a column NULL and fills another",
        "migration",
        ('ALTER TABLE "orders" ALTER COLUMN "v" DROP NOT NULL', "UPDATE other SET v = 1"),
        _READ,
        setup=_DJANGO,
    ),
    Row(
        "Rails adds an index",
        "migration",
        ('CREATE  INDEX  "index_orders_on_v" ON "orders" ("v") /*application:Shop*/',),
        _WRITE,
        application_name="bin/rails db:migrate",
    ),
    Row(
        "Rails changes a type",
        "migration",
        ('ALTER TABLE "orders" ALTER COLUMN "v" TYPE bigint',),
        _READ,
    ),
    Row(
        "Alembic changes and then fills",
        "migration",
        ("ALTER TABLE orders ADD COLUMN total NUMERIC(10, 2)", "UPDATE orders SET total = v"),
        _READ,
        setup="create table alembic_version (version_num varchar(32) primary key)",
    ),
    Row(
        "Flyway drops a column",
        "migration",
        ("ALTER TABLE orders DROP COLUMN IF EXISTS v CASCADE",),
        _READ,
        application_name="Flyway by Redgate",
    ),
    Row(
        "Prisma sets a foreign key",
        "migration",
        (
            'ALTER TABLE "lines" ADD CONSTRAINT "lines_order_fkey" FOREIGN KEY ("order_id") REFERENCES "orders"("id") '
            "ON DELETE SET NULL ON UPDATE CASCADE",
        ),
        _WRITE,
        setup="create table lines (id int primary key, order_id int)",
    ),
    Row("Knex renames", "migration", ('alter table "orders" rename to "purchases"',), _READ, relation="public.orders"),
    Row("a tool sets storage", "migration", ("alter table orders set (fillfactor = 70)",), _CHANGE),
    Row("a tool sets unlogged", "migration", ("alter table orders set unlogged",), _READ),
    Row(
        "a tool switches triggers off", "migration", ("alter table orders disable trigger all",), _WRITE, setup=_TRIGGER
    ),
    Row(
        "a tool makes a policy",
        "migration",
        ("alter table orders enable row level security", "create policy mine on orders using (true)"),
        _READ,
    ),
    Row("a tool makes a rule", "migration", ("create rule nothing as on delete to orders do instead nothing",), _READ),
    Row(
        "a tool detaches a partition",
        "migration",
        ("alter table parted detach partition p1",),
        "select from parted",
        relation="public.parted",
        setup="create table parted (id int) partition by range (id); "
        "create table p1 partition of parted for values from (1) to (9)",
    ),
    Row(
        "a tool changes a sequence",
        "migration",
        ("alter sequence numbers restart with 100",),
        "select nextval('numbers')",
        relation="public.numbers",
        setup="create sequence numbers",
    ),
    Row("a tool drops with cascade", "migration", ("drop table orders cascade",), _READ),
    Row(
        "a tool moves to a schema",
        "migration",
        ("create schema archive", "alter table orders set schema archive"),
        _READ,
    ),
    Row(
        "a tool adds a unique key by an index",
        "migration",
        ("alter table orders add constraint orders_once_key unique using index once",),
        _READ,
        setup="create unique index once on orders (id, customer_id)",
    ),
    Row(
        "a tool changes a generated column",
        "migration",
        ("alter table orders add twice int generated always as (v * 2) stored",),
        _READ,
    ),
    Row(
        "a forgotten Rails console migration",
        _IDLE,
        ('ALTER TABLE "orders" ADD "note" character varying',),
        _READ,
        ("migration",),
        application_name="bin/rails console",
    ),
    Row(
        "a forgotten foreign key",
        _IDLE,
        ("alter table lines add foreign key (order_id) references orders not valid",),
        _WRITE,
        ("migration",),
        setup="create table lines (id int primary key, order_id int)",
    ),
    # Idle in transaction, as applications leave it.
    Row("an ORM that flushed", _IDLE, ('UPDATE "orders" SET "v" = 1 WHERE "orders"."id" = 7',), _ROW),
    Row(
        "Hibernate with a pessimistic lock",
        _IDLE,
        ("select o1_0.id,o1_0.v from orders o1_0 where o1_0.id=7 for no key update",),
        _ROW,
    ),
    Row(
        "Rails with a lock",
        _IDLE,
        ('SELECT "orders".* FROM "orders" WHERE "orders"."id" = 7 LIMIT 1 FOR UPDATE',),
        _ROW,
        application_name="sidekiq 7.2 shop [1 of 10 busy]",
    ),
    Row("a client behind pgbouncer", _IDLE, (_UPDATE, "select 1"), _ROW, application_name="app - 10.0.0.7:51234"),
    Row("a client that read and calls an API", _IDLE, (_UPDATE, "select * from other where id = 1"), _ROW),
    Row(
        "an upsert that is not committed",
        _IDLE,
        ("insert into other values (77, 1) on conflict (id) do update set v = 2",),
        "insert into other values (77, 1) on conflict (id) do update set v = 3",
        relation="public.other",
    ),
    Row(
        "a child whose parent is deleted",
        _IDLE,
        ("insert into lines (order_id) values (7)",),
        "delete from orders where id = 7",
        setup=_CHILD,
    ),
    Row(
        "a deleted parent that a child wants",
        _IDLE,
        ("delete from orders where id = 7",),
        "insert into lines (order_id) values (7)",
        setup=_CHILD,
    ),
    Row("a savepoint of an ORM", _IDLE, ("SAVEPOINT s123_x1", _UPDATE, "RELEASE SAVEPOINT s123_x1"), _ROW),
    Row("a rolled back savepoint", _IDLE, (_UPDATE, "savepoint s", "update other set v = 1", "rollback to s"), _ROW),
    Row("a serializable transaction", _IDLE, ("set transaction isolation level serializable", _UPDATE), _ROW),
    Row(
        "a reader that an index build waits for",
        _IDLE,
        ("set transaction isolation level repeatable read", "select from other"),
        "create index concurrently on orders (v)",
        waits_outside=True,
    ),
    Row(
        "a writer that an index build waits for",
        _IDLE,
        (_UPDATE,),
        "create index concurrently on orders (v)",
        waits_outside=True,
    ),
    Row("a reader in front of a truncate", _IDLE, ("select count(*) from orders",), "truncate orders"),
    Row(
        "a reader in front of a vacuum full",
        _IDLE,
        ("select count(*) from orders",),
        "vacuum full orders",
        waits_outside=True,
    ),
    Row(
        "a reader in front of a rebuild",
        _IDLE,
        ("select count(*) from orders",),
        "reindex table orders",
        waits_outside=True,
    ),
    Row(
        "a reader in front of a dropped index",
        _IDLE,
        ("select count(*) from orders",),
        "drop index by_v",
        setup="create index by_v on orders (v)",
    ),
    Row("a writer in front of an index", _IDLE, (_WRITE,), "create index on orders (v)"),
    Row("a share lock that a writer wants", _IDLE, ("select from orders where id = 7 for share",), _ROW),
    Row(
        "a key that changed",
        _IDLE,
        ("update orders set id = -7 where id = 7",),
        "select from orders where id = 7 for key share",
    ),
    # Long statements.
    Row(
        "a load in front of a change",
        "long_query",
        ("insert into other select id + 100, v from orders",),
        _CHANGE,
        relation=ORDERS,
    ),
    Row("an update of many rows in front of one", "long_query", ("update orders set v = v + 1",), _ROW),
    Row(
        "a recursive report",
        "long_query",
        (
            "with recursive r as (select 1 as n union all select n + 1 from r where n < 9) "
            "select count(*) from r, orders",
        ),
        _CHANGE,
    ),
    Row(
        "a delete of a parent in front of its child",
        "long_query",
        ("delete from orders where id = 7",),
        "insert into lines (order_id) values (7)",
        setup=_CHILD,
    ),
    Row("a batch with FOR UPDATE", "long_query", ("select from orders order by id limit 100 for update",), _ROW),
    # Locks of LOCK TABLE and of the application.
    Row(
        "a queue table that is locked",
        "explicit_lock",
        ("lock table orders in exclusive mode",),
        "select from orders where id = 7 for update",
    ),
    Row(
        "a lock that keeps writers out",
        "explicit_lock",
        ('LOCK TABLE "public"."orders" IN SHARE ROW EXCLUSIVE MODE',),
        _WRITE,
    ),
    Row("a lock with NOWAIT", "explicit_lock", ("lock table orders in access exclusive mode nowait",), _READ),
    Row(
        "a pooled session that kept its lock",
        "advisory_lock",
        ("select pg_advisory_lock(72707369)",),
        "select pg_advisory_lock(72707369)",
        relation=None,
        autocommit=True,
        application_name="PostgreSQL JDBC Driver",
        action="none",
    ),
    Row(
        "a lock by a hash and a number",
        "advisory_lock",
        ("select pg_advisory_xact_lock(hashtext('invoice'), 7)",),
        "select pg_advisory_xact_lock(hashtext('invoice'), 7)",
        relation=None,
        action="none",
    ),
    Row(
        "a shared lock in the way of a leader",
        "advisory_lock",
        ("select pg_advisory_lock_shared(42)",),
        "select pg_advisory_lock(42)",
        relation=None,
        autocommit=True,
        action="none",
    ),
    # Two pods that start at once make the same thing.
    *(
        Row(f"{what} that two pods create", "migration", (text,), text, relation=f"pg_catalog.{catalog}")
        for what, text, catalog in (
            ("a table", "create table if not exists t (id int)", "pg_type"),
            ("a schema", "create schema if not exists app", "pg_namespace"),
            ("an extension", "create extension if not exists pg_trgm", "pg_extension"),
            ("an index", "create index if not exists by_v on other (v)", "pg_class"),
            ("a type", "create type mood as enum ('fine')", "pg_type"),
            ("a function", "create or replace function f() returns int language sql as 'select 1'", "pg_proc"),
            ("a sequence", "create sequence if not exists numbers", "pg_class"),
        )
    ),
    Row(
        "a view that an idle pod creates",
        _IDLE,
        ("create or replace view seen as select 1", "select 1"),
        "create or replace view seen as select 1",
        ("migration",),
        relation="pg_catalog.pg_type",
    ),
    # Large objects are data.
    Row(
        "a large object that is deleted twice",
        _IDLE,
        ("select lo_unlink(4711)",),
        "select lo_unlink(4711)",
        relation=None,
        setup="select lo_create(4711)",
    ),
    Row(
        "a large object that is written twice",
        _IDLE,
        ("select lo_put(4711, 0, 'y')",),
        "select lo_put(4711, 0, 'z')",
        relation="pg_catalog.pg_largeobject",
        setup="select lo_from_bytea(4711, 'x')",
    ),
    # Tools whose other session works.
    Row(
        "pg_repack keeps a table",
        _IDLE,
        ("lock table orders in access share mode",),
        _CHANGE,
        application_name="pg_repack",
        action="none",
    ),
    Row(
        "a dump in several jobs",
        "backup",
        ("lock table orders in access share mode",),
        _CHANGE,
        application_name="pg_dump",
        action="none",
    ),
    # Maintenance.
    Row(
        "a clustered table",
        "maintenance",
        ("cluster orders using orders_pkey",),
        _READ,
    ),
    Row("an analyzed table", _IDLE, ("analyze orders",), _CHANGE, ("maintenance",)),
    Row(
        "a refresh that is not committed",
        _IDLE,
        ("refresh materialized view totals",),
        "select from totals",
        ("maintenance",),
        relation="public.totals",
        setup="create materialized view totals as select count(*) from orders",
    ),
    Row("an index that was rebuilt by a job", "maintenance", ("reindex index orders_pkey",), _WRITE),
    Row(
        "a view that was refreshed by a job",
        "maintenance",
        ("refresh materialized view totals",),
        "select from totals",
        relation="public.totals",
        setup="create materialized view totals as select count(*) from orders",
    ),
    Row("a rebuilt table", "maintenance", ("reindex table orders",), _WRITE),
    Row("a table that was clustered before", "maintenance", ("cluster orders",), _READ, setup=_CLUSTERED),
    Row("an idle cluster and work", _IDLE, ("cluster orders", "select 1"), _READ, ("maintenance",), setup=_CLUSTERED),
    Row(
        "a clustered table and work in one text", "maintenance", ("cluster orders using orders_pkey; select 1",), _READ
    ),
    Row("a rewritten table", "migration", ("alter table orders add r float default random()",), _READ),
    Row("a rewritten column", "migration", ("alter table orders alter v type bigint",), _READ, setup=_CLUSTERED),
    Row("a table that is to be clustered", "migration", ("alter table orders cluster on orders_pkey",), _CHANGE),
    Row("an idle cluster", _IDLE, ("cluster orders using orders_pkey",), _READ, ("maintenance",)),
)
