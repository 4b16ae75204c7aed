"""`tokensvc settings --example`: a settings file with every setting in comments.

Invariants
- Lines of text begin with `# `, settings with `#`: without that one character, the file is a valid settings file.
- A setting is shown with its default, or with an example where it has none.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

from tokensvc.cli.setting_groups import GROUPS
from tokensvc.settings import Settings, example_value

_WIDTH = 100
_HEAD = """\
Settings of tokensvc, in TOML. Name this file with --config or TOKENSVC_CONFIG.
To set a value, remove the # before its key. Variables of the environment, such as TOKENSVC_PORT, take precedence.
Instead of `key`, `key_file` may name a file that has the value: passphrase_file = "/run/secrets/passphrase".
A file with a passphrase, or with a URL that has a password, must not be readable by every user: chmod 640, or 600.
Relative paths are relative to the directory in which tokensvc is started."""


def example_lines() -> Iterator[str]:
    """The lines of the file."""
    yield from _comment(_HEAD)
    for group in GROUPS:
        yield ""
        yield ""
        yield f"# {group.heading}"
        yield "# " + "-" * len(group.heading)
        for name in group.names:
            yield ""
            description = str(Settings.model_fields[name].description).replace(", comma-separated", "")
            yield from _comment(f"{description}.")
            yield f"#{name} = {_toml(example_value(name))}"


def _comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from (f"# {part}" for part in textwrap.wrap(line, _WIDTH - len("# "), break_on_hyphens=False))


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and booleans are written alike in TOML
