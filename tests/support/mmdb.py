"""Writes small databases in MaxMind's format, as in the MaxMind DB File Format Specification 2.0.

Only what a database of countries needs: strings, unsigned integers, maps and arrays, and records of 24 bits.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STRING, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11
_LARGEST_TYPE_IN_CONTROL_BYTE = 7
_LARGEST_SIZE_IN_CONTROL_BYTE = 28
_RECORD_BITS = 24
_SEPARATOR = bytes(16)
_METADATA_MARKER = b"\xab\xcd\xefMaxMind.com"

Node = list[Any]
"""Two children: a node, the number of a data record (int), or None."""


def write_database(path: Path, networks: Mapping[str, Any], *, ip_version: int = 6) -> Path:
    """Write a database with a data record per network. IPv4 networks are in `::/96`, as the specification says."""
    root: Node = [None, None]
    data, offsets = b"", []
    for number, (network, record) in enumerate(networks.items()):
        _insert(root, _bits(network, ip_version), number)
        offsets.append(len(data))
        data += _encode(record)
    nodes = _numbered(root)
    tree = b"".join(_record(nodes, offsets, child) for node in nodes.values() for child in node)
    metadata = {
        "node_count": (_UINT32, len(nodes)),
        "record_size": (_UINT16, _RECORD_BITS),
        "ip_version": (_UINT16, ip_version),
        "database_type": "Test-Country",
        "languages": ["en"],
        "binary_format_major_version": (_UINT16, 2),
        "binary_format_minor_version": (_UINT16, 0),
        "build_epoch": (_UINT64, 1_800_000_000),
        "description": {"en": "made by a test"},
    }
    path.write_bytes(tree + _SEPARATOR + data + _METADATA_MARKER + _encode(metadata))
    return path


def _bits(network: str, ip_version: int) -> list[int]:
    """The prefix as a path through the tree."""
    parsed = ipaddress.ip_network(network)
    bits = [int(bit) for bit in f"{int(parsed.network_address):0{parsed.max_prefixlen}b}"[: parsed.prefixlen]]
    return [0] * 96 + bits if ip_version == 6 and parsed.version == 4 else bits


def _insert(root: Node, bits: Sequence[int], number: int) -> None:
    node = root
    for bit in bits[:-1]:
        if node[bit] is None:
            node[bit] = [None, None]
        node = node[bit]
    node[bits[-1]] = number


def _numbered(root: Node) -> dict[int, Node]:
    """The nodes by identity, in the order of their numbers, the root first."""
    nodes, to_visit = {id(root): root}, [root]
    for node in to_visit:  # grows during the loop
        for child in node:
            if isinstance(child, list):
                nodes[id(child)] = child
                to_visit.append(child)
    return nodes


def _record(nodes: Mapping[int, Node], offsets: Sequence[int], child: Node | int | None) -> bytes:
    if child is None:
        value = len(nodes)
    elif isinstance(child, int):
        value = len(nodes) + len(_SEPARATOR) + offsets[child]
    else:
        value = list(nodes).index(id(child))
    return value.to_bytes(_RECORD_BITS // 8, "big")


def _encode(value: Any) -> bytes:
    """A field of the data section. Integers are pairs of their type and their value."""
    match value:
        case str():
            return _control(_STRING, len(value.encode())) + value.encode()
        case dict():
            return _control(_MAP, len(value)) + b"".join(_encode(k) + _encode(v) for k, v in value.items())
        case list():
            return _control(_ARRAY, len(value)) + b"".join(map(_encode, value))
        case (kind, number):
            digits: bytes = number.to_bytes((number.bit_length() + 7) // 8, "big")
            return _control(kind, len(digits)) + digits
    raise TypeError(value)


def _control(kind: int, size: int) -> bytes:
    """The control byte, and the bytes of a type or a size that does not fit into it."""
    extended = kind > _LARGEST_TYPE_IN_CONTROL_BYTE
    first, more = min(size, _LARGEST_SIZE_IN_CONTROL_BYTE + 1), b""
    if size > _LARGEST_SIZE_IN_CONTROL_BYTE:
        more = bytes([size - _LARGEST_SIZE_IN_CONTROL_BYTE - 1])
    control = bytes([(0 if extended else kind) << 5 | first])
    return control + (bytes([kind - _LARGEST_TYPE_IN_CONTROL_BYTE]) if extended else b"") + more
