"""`tokensvc keys …`: the signing key pairs.

Rules of the room
- Verbs that belong together share a file; each registers itself with `app`.
- What changes anything goes through `rotate/`, which notes each step, so that any command may be killed and run again.
- Durations are reckoned on the store's clock, not on this machine's.
"""

from __future__ import annotations

import typer

from tokensvc.cli.keys import create, inspect
from tokensvc.cli.keys import retire as ending
from tokensvc.cli.keys import rewrap as rewrapping
from tokensvc.cli.keys import rotate as rotating

app = typer.Typer(help="The signing key pairs.", no_args_is_help=True, add_completion=False)
app.command()(create.generate)
app.command("import")(create.import_)
app.command()(create.adopt)
app.command("list")(inspect.list_)
app.command()(inspect.show)
app.command()(rotating.rotate)
app.command()(rotating.reconcile)
app.command()(rotating.activate)
app.command()(ending.retire)
app.command()(ending.delete)
app.command()(ending.compromise)
app.command()(inspect.public)
app.command()(rewrapping.rewrap)
