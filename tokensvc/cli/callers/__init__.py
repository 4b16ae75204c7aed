"""`tokensvc callers …`: callers of the HTTP API, their policies and API keys.

Invariants
- Every change is one transaction of the store, which records it with the user who ran the command.
- An API key is printed once, by the command that made it.
"""

from __future__ import annotations

from tokensvc.cli.callers import apply as apply_module
from tokensvc.cli.callers import change, inspect, rotate
from tokensvc.cli.help import Commands

app = Commands("Manage callers of the HTTP API and their API keys.")
app.command()(change.add)
app.command("list")(inspect.list_)
app.command()(inspect.show)
app.command()(change.update)
app.command()(apply_module.apply)
app.command()(rotate.rotate_secret)
app.command()(change.enable)
app.command()(change.disable)
