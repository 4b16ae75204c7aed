"""The open-loop load harness: `python -m benchmarks.load PLAN`, or `--rate N --duration S`.

Requests are sent at the times that the plan defines, whatever the server does; latency counts from the
intended time, so that waiting counts.

    plan.py               a TOML file -> a checked Plan, or errors by line
    pacer.py              stages -> the intended send times
    request_kinds.py      the kinds of request, and their prepared bytes (the Locust file sends the same)
    wire.py connection.py target -> HTTP/1.1 bytes; one keep-alive connection
    sender.py clock.py    one generator: sends on time, records responses and its own scheduling delay
    tally.py latency.py   what a generator counts while it runs
    worker_pool.py        the generator processes of this machine
    records.py            the lines of a records file; lines of several machines are added up
    token_samples.py      sampled tokens, verified with PyJWT
    signals.py            signals during a run: they stop the sending, the waiting, then the command
    server_stats.py actions.py progress.py   during the run: the server's CPU and memory, commands, a line per second
    limits.py             the limits of a run: scheduling delay, p99, error rate
    totals.py figures.py chart.py text_report.py   records -> figures -> text, JSON, SVG and PNG
    report_output.py result_store.py   a report: printed first, then written; the exit code
    merge.py              several machines' records -> one report
    locustfile.py         the same requests from many machines, closed loop
"""
