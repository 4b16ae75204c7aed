"""What others sign and serve tokens with, beside ours in one run: `make bench-peers`, `python -m benchmarks.peers`.

__main__.py     the run: what can take part does, what cannot is named; one report
unavailable.py  what is not installed, why that matters, how to get it
key.py          the key that all of them sign with
verification.py judges a token of each with PyJWT, before and while it is measured
over_http.py    servers: ours, the least there is, Starlette + PyJWT, fastify with three libraries
in_process.py   signing alone: ours, AWS-LC, cryptography, PyJWT, three libraries of Node, Go
processes.py    contenders in other languages, which measure when they are told to
bare.py         the least that an HTTP server can do and still sign
naive.py        Starlette and PyJWT, as people write it
node/           fastify, jose, jsonwebtoken, fast-jwt; `make` installs them from the lock file
go/             Go's own crypto/ecdsa
"""
