"""The local IVS serves the whole model, and patches it only where necessary."""

from __future__ import annotations

from botocore.loaders import Loader

from tests.local_ivs.environment import OPERATIONS
from tokensvc.local_ivs.api_model import COMMON_ERRORS, PATCHES, SERVICE, status_of
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.service import HANDLERS


def test_every_operation_of_the_model_has_a_handler() -> None:
    """Fails, naming it, when AWS's model gains or loses an operation."""
    assert set(OPERATIONS) == set(HANDLERS)


def test_every_patch_is_still_needed() -> None:
    published = Loader().load_service_model(SERVICE, "service-2")["shapes"]
    for patch in PATCHES:
        assert published[patch.shape][patch.key] == patch.published
        assert patch.reason


def test_every_error_has_exactly_one_status(model: ApiModel) -> None:
    assert set() == COMMON_ERRORS.keys() & model.error_status.keys()
    for operation in model.operations.values():
        for code in operation.errors:
            assert 400 <= status_of(model, code) <= 503
