"""The IAM policy of the deployment guide allows exactly the operations that tokensvc calls."""

from __future__ import annotations

import json
import re
from pathlib import Path

import tokensvc
from tests.docs.code_blocks import code_blocks
from tokensvc.local_ivs.api_model import load

PACKAGE = Path(tokensvc.__file__).parent
OF_THE_LOCAL_IVS_ALONE = {PACKAGE / "cli/demo_seed.py", PACKAGE / "container/watch_key.py"}


def test_the_policy_allows_what_is_called_and_nothing_else() -> None:
    guide = PACKAGE.parent / "docs/how-to/deploy.md"
    [policy] = [b for b in code_blocks(guide, "docs/how-to/deploy.md") if b.file == "tokensvc-policy.json"]
    allowed = {action for statement in json.loads(policy.text)["Statement"] for action in statement["Action"]}
    assert allowed == {f"ivs:{operation}" for operation in called_operations()}


def called_operations() -> set[str]:
    """The operations that the code names, outside of the local IVS and the demo."""
    operations = set(load().operations)
    sources = [
        path
        for path in PACKAGE.rglob("*.py")
        if "local_ivs" not in path.parts and path not in OF_THE_LOCAL_IVS_ALONE and "testing" not in path.parts
    ]
    return {name for path in sources for name in re.findall(r'"(\w+)"', path.read_text("utf-8")) if name in operations}
