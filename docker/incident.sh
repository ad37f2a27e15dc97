#!/bin/bash
# An incident on demand, on the server of PGHOST and so on: a transaction that stays open, a migration that waits for
# it, and readers that wait for the migration. It ends after SECONDS_OPEN seconds (300).
set -eu
open=${SECONDS_OPEN:-300}

psql -qc 'CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, state text)' \
    -c "INSERT INTO orders VALUES (1, 'new') ON CONFLICT DO NOTHING"

# psql reads on until the sleep ends, in its open transaction.
{
    echo "BEGIN; UPDATE orders SET state = 'paid' WHERE id = 1;"
    sleep "$open"
} | PGAPPNAME=forgotten psql -q &
sleep 1
PGAPPNAME=migration psql -qc 'ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text' &
sleep 1
for _ in $(seq 12); do
    PGAPPNAME=web psql -qtc 'SELECT count(*) FROM orders' >/dev/null &
done
echo "12 readers wait for a migration, and it waits for a forgotten transaction, for $open s"
wait
