"""tokensvc compared with other ways to sign and serve tokens: `make bench-peers`, `python -m benchmarks.peers`.

__main__.py     the run: measures the available peers, names the skipped ones; one report
unavailable.py  which peers are not installed, and how to install them
key.py          the key that all peers sign with
verification.py verifies a token of each peer with PyJWT
over_http.py    servers: tokensvc, the bare app, Starlette + PyJWT, fastify with three libraries
in_process.py   signing in process: tokensvc, AWS-LC, cryptography, PyJWT, three Node libraries, Go
processes.py    peers in other languages, which run in processes and measure themselves
bare.py         the minimum: an ASGI app that only signs
naive.py        Starlette and PyJWT, a typical implementation
one_accept.py   tokensvc on uvloop's own server, for `benchmarks.connections`
node/           fastify, jose, jsonwebtoken, fast-jwt; `make` installs them from the lock file
go/             Go's crypto/ecdsa
"""
