"""`tokensvc keys …`: signing keys.

Invariants
- Every change goes through `tokensvc.keys`, which journals each step, so any command may be killed and run again.
- Ages and deadlines are computed with the store's clock, not this machine's.
"""

from __future__ import annotations

from tokensvc.cli.help import Commands
from tokensvc.cli.keys import create, inspect
from tokensvc.cli.keys import retire as retire_module
from tokensvc.cli.keys import rewrap as rewrap_module
from tokensvc.cli.keys import rotate as rotate_module

app = Commands("Manage signing keys.")
app.command()(create.generate)
app.command("import")(create.import_)
app.command()(create.adopt)
app.command("list")(inspect.list_)
app.command()(inspect.show)
app.command()(rotate_module.rotate)
app.command()(rotate_module.reconcile)
app.command()(rotate_module.activate)
app.command()(retire_module.retire)
app.command()(retire_module.delete)
app.command()(retire_module.compromise)
app.command()(inspect.public)
app.command()(rewrap_module.rewrap)
