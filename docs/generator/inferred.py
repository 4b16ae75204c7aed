"""The list of everything that the code infers about IVS, by subject."""

from __future__ import annotations

from pathlib import Path

from docs.generator.basis import Basis, marked_in
from docs.generator.sources import PACKAGE, files

LOCAL_IVS = "local_ivs/"
"""Where files are that a service in production never uses."""

SUBJECTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Signing and keys",
        ("jose/", "keys/", "deployment/", "tokens/claims.py", "local_ivs/resources/playback_key_pairs.py"),
    ),
    ("Revocations", ("revocations/", "local_ivs/revocations.py")),
    (
        "Playback edge",
        (
            *("origins.py", "tokens/validation.py", "tokens/playback_session.py", "tokens/single_uses.py"),
            *("local_ivs/edge/", "local_ivs/http/edge.py"),
            *("local_ivs/propagation.py", "local_ivs/media/"),
        ),
    ),
    ("Resources", ("local_ivs/resources/", "local_ivs/crud.py", "local_ivs/id_generators.py")),
    ("Streams", ("local_ivs/streams/", "local_ivs/live_streams.py")),
    ("API and errors", ("aws/", "tokens/channel_cache.py", "local_ivs/")),
)
"""Subject -> the files and folders that belong to it; a file belongs to the first subject that names it."""


def subject_of(path: Path) -> str:
    """The subject of a file. Raises LookupError if no subject names it."""
    name = path.relative_to(PACKAGE).as_posix()
    for subject, prefixes in SUBJECTS:
        if name.startswith(prefixes):
            return subject
    raise LookupError(f"{name} belongs to no subject of docs/generator/inferred.py")


def passage() -> str:
    """Every inference, by subject; those that matter in production first."""
    entries: dict[tuple[str, bool], list[str]] = {}
    for path in files():
        name = path.relative_to(PACKAGE).as_posix()
        for statement in marked_in(path):
            if statement.basis is Basis.INFERRED:
                entry = f"- {statement.text} See [`{name}`](../../tokensvc/{name})."
                entries.setdefault((subject_of(path), name.startswith(LOCAL_IVS)), []).append(entry)
    parts = []
    for subject, _ in SUBJECTS:
        parts.append(f"## {subject}")
        for local, title in ((False, "In the service:"), (True, "In the local IVS only:")):
            if found := entries.get((subject, local)):
                parts += [title, "\n".join(found)]
    return "\n\n".join(parts)
