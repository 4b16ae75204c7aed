"""The open-loop load harness: `python -m benchmarks.load PLAN`, or `--rate N --duration S`.

The map. Requests go out at the instants that the plan names, whatever the server does; a latency counts from the
intended instant, so that waiting counts.

    plan.py toml_positions.py  a TOML file -> a checked Plan, or refusals by line
    pacer.py              stages -> the intended instants
    request_kinds.py      the kinds of request, and their prepared bytes (the Locust file sends the same)
    wire.py connection.py target -> HTTP/1.1 bytes; one keep-alive connection
    sender.py clock.py    one generator: sends on time, records its answers and its own lateness
    tally.py latency.py   what a generator counts while it runs
    worker_pool.py        as many generator processes as asked
    records.py            the lines of a records file; lines of several machines simply add up
    token_samples.py      sampled tokens, judged with PyJWT
    signals.py            signals during a run: they end the sending, the waiting, then the command
    server_stats.py actions.py progress.py   beside the run: the server's CPU and memory, commands, a line a second
    limits.py             what a run is held to: the generators' lateness, p99, error rate
    totals.py figures.py chart.py text_report.py   records -> figures -> text, JSON, SVG and PNG
    report_output.py result_store.py   a report: printed first, then stored; the exit code
    merge.py              several machines' records -> one report
    locustfile.py         the same requests from many machines, closed loop
"""
