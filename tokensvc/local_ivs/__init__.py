"""The local IVS: the whole IVS API as botocore's service model describes it, and a playback edge. For tests and demos.

model.py shapes.py     interpret an AWS service model: routes, validation, rendering. They contain nothing about IVS
api_model.py           IVS's service model, with corrections
service.py             LocalIvs: validates a call, runs its handler and renders the response, in one transaction
transaction.py         what a handler gets, and what it declares: its rate limits and whether it writes
resource_store.py      the protocol of the store
sigv4.py               verifies AWS's request signatures
crud.py resources/     the operations that resources share; one file per resource with its description and rules
live_streams.py        which channels are live; streams/ has their lifecycle, sessions, events and recordings
simulator.py           starts and stops streams on command
revocations.py         viewer-session revocations
propagation.py         what the edge knows of changes, and when
rate_limits.py faults.py   throttling and fault injection
edge/ media/ http/     the playback edge; what it plays; API, edge and management listener over HTTP
storage.py             the store, on SQLite
"""
