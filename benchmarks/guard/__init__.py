"""Performance regression check: does a token cost more than before? `make bench-guard`, `python -m benchmarks.guard`.

    __main__.py      measures, checks, measures failures again; exit code 1 and a message for each regression
    limits.toml      the baseline of each ratio, the margin, and why it matters
    limits.py        reads limits.toml and checks a ratio
    instructions.py  instructions counted by callgrind: the same on a busy machine as on a quiet one
    callgrind_target.py  the program that callgrind counts: a signature, a token, a request, a batch
    signing.py       CPU time in this process
    serving.py       CPU time of the server per token over HTTP

Only ratios within one run are checked, each the cost of tokensvc over the cost of something else in this repository.
"""
