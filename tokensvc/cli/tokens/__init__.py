"""`tokensvc tokens …`: issues tokens, and explains why one is allowed or denied."""

from __future__ import annotations

from tokensvc.cli.help import Commands
from tokensvc.cli.tokens.explain import explain
from tokensvc.cli.tokens.issue import issue

app = Commands("Issue and inspect playback tokens.")
app.command()(issue)
app.command()(explain)
