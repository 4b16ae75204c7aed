"""The IVS API as data, and the local IVS on top of it. No sockets, no SQL.

model.py shapes.py   read AWS's service model: routes, checks, rendering. Know no IVS
surface.py           the model of IVS: patches to it, what is served, what is not yet
kinds.py             kinds of resources as rows; crud.py makes the operations of them
channels.py …        the rules that are a kind's own
streams.py …         a stream's life, its sessions, events and recordings; simulator.py is where streams come from today
rates.py faults.py   how often, and what goes wrong on request
embedded.py          LocalIvs: check -> handler -> dump, in one transaction
"""
