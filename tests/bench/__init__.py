"""What pgdoctor costs: `make bench`, or parts of it: `make bench ARGS="rest storm"`.

Ratios and shares of one run; absolute times depend on the machine. One module a part, found by its name:

rest    the agent on a quiet server
storm   1,000 waiters and 40,000 locks, and a convoy on one row: the poll against its floor and against the
        documented query; then the agent in it, with ten scrapers, and after it
diagnosis_cost
        1,000 waiters in a queue, a convoy, a chain and pairs: the poll against its floor, Python's share, replay and
        archive, `diagnose` against the documented query; and `diagnose`, cold, against importing the driver
exporter
        the agent beside Debian's prometheus-postgres-exporter: idle, loaded, in storms and in a convoy
saturated
        a storm of 1,000 on a host whose CPUs are all taken
memory  of an agent after a day's worth of storms
fleet   one agent with 200 servers
gate    what 2,000 idle sessions cost
scrape  ten scrapers of a quiet server
trips   round trips, and seconds on a slow line
peak    pgbench's TPC-B with 16 clients: the agent beside Debian's prometheus-postgres-exporter, and what it takes
        from the transactions
notifications
        memory of an agent with receivers, at rest and after an incident
delay   from the beginning of a wait to /metrics
thresholds
        not a cost: precision and recall of thresholds that learn beside fixed ones, on a recording of staged incidents,
        and on public series where PGDOCTOR_NAB names them
"""
