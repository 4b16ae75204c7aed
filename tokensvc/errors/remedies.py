"""What ends a failure or a problem, as data.

Invariants
- A remedy names an action and what it is about. It holds no command, no setting's name and no sentence: `cli/` turns
  it into a command, `http/problem_details.py` into words.
- Parameters are identifiers and paths: no secret, no viewer id.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, str] = MappingProxyType({})


class Action(StrEnum):
    """Every kind of remedy. In parentheses what its parameters name."""

    DIAGNOSE = "diagnose"
    """Look for the cause with the diagnostics."""

    UPGRADE_SCHEMA = "upgrade_schema"
    CREATE_NEW_STORE = "create_new_store"
    """Leave the store that there is, and create a new one."""
    UPGRADE_SERVICE = "upgrade_service"
    CORRECT_DATABASE_URL = "correct_database_url"
    REACH_STORE = "reach_store"
    """(target)"""
    RAISE_STORE_TIMEOUT = "raise_store_timeout"
    """(target)"""
    WAIT_FOR_LOCK = "wait_for_lock"
    """(target)"""
    FREE_DISK_SPACE = "free_disk_space"
    """(target)"""
    USE_WRITABLE_STORE = "use_writable_store"
    """(target)"""
    RESTORE_STORE = "restore_store"
    CORRECT_LOGIN = "correct_login"
    """(target)"""
    CREATE_DATABASE = "create_database"
    """(target)"""

    CREATE_DIRECTORY = "create_directory"
    """(path)"""
    PROTECT_FILE = "protect_file"
    """(path)"""
    PROTECT_DIRECTORY = "protect_directory"
    """(path)"""
    TAKE_OWNERSHIP = "take_ownership"
    """(path)"""
    REPLACE_SYMLINK = "replace_symlink"
    """(path, target)"""

    GIVE_FORMER_PASSPHRASE = "give_former_passphrase"  # noqa: S105 - a word for an action
    """Encrypt with the passphrase that the store's secrets are under."""
    ADD_PREVIOUS_PASSPHRASE = "add_previous_passphrase"  # noqa: S105 - likewise
    """Accept the former passphrase for decryption, beside the present key."""
    ADD_PREVIOUS_KMS_KEY = "add_previous_kms_key"
    """Likewise of a key of AWS KMS (arn)."""

    CORRECT_AWS_SETTINGS = "correct_aws_settings"
    UNSET_IVS_ENDPOINT = "unset_ivs_endpoint"
    SET_IVS_ENDPOINT = "set_ivs_endpoint"

    REPLACE_SIGNER = "replace_signer"
    """Use another signer on that machine."""

    GENERATE_KEY = "generate_key"
    ROTATE_KEYS = "rotate_keys"
    RESUME_ROTATION = "resume_rotation"
    """(key_id)"""
    ACTIVATE_KEY = "activate_key"
    """(key_id)"""
    COMPROMISE_KEY = "compromise_key"
    """(key_id)"""
    ADOPT_KEY_PAIR = "adopt_key_pair"
    """(key_id; arn, where only one pair may be meant; candidates, where several may, separated by commas)"""
    DELETE_KEY_PAIR = "delete_key_pair"
    """(key_id, arn)"""
    FREE_KEY_SLOT = "free_key_slot"
    """(key_ids: those that can be deleted, separated by commas; foreign: "true" where others hold pairs there)"""

    CONFIGURE_REGION = "configure_region"
    """Configure the region, or cancel what waits for it (region)."""


class Remedy(NamedTuple):
    """An action, and what it is about."""

    action: Action
    parameters: Mapping[str, str] = NONE
