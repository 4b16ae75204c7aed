"""Whether a token costs more than it did: `make bench-guard`, `python -m benchmarks.guard`.

    __main__.py      measures, judges, measures once more what failed; exit code 1 and a sentence for what has grown
    limits.toml      what each ratio usually is, how far a run may be off, and why it matters
    limits.py        reads those, and judges a ratio
    instructions.py  instructions by callgrind: the same on a busy machine as on a quiet one
    callgrind_target.py  what callgrind counts: a signature, a token, a request answered, a batch
    signing.py       CPU time in this process
    serving.py       CPU time of the server for a token that was asked for over HTTP

Only ratios within one run are judged, each a cost of ours over a cost of something that lies in this repository too.
"""
