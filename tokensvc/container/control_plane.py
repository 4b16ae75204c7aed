"""Amazon IVS or a local IVS, as the settings and boto3's configuration say, and the regions to use."""

from __future__ import annotations

from tokensvc.aws.ivs import AwsControlPlane, CallObserver, default_region, ignore_calls, ivs_regions
from tokensvc.errors import FieldError, SettingsError
from tokensvc.settings import Settings


def make_control_plane(settings: Settings, observe: CallObserver | None = None) -> AwsControlPlane:
    """The control plane of the settings. Raises SettingsError if boto3's endpoint belongs to the other kind."""
    control_plane = AwsControlPlane(str(settings.control_plane), observe or ignore_calls)
    control_plane.check(next(iter(settings.regions), None) or default_region() or "us-east-1")
    return control_plane


def configured_regions(settings: Settings) -> tuple[str, ...]:
    """The regions to hold keys in: the setting, else boto3's default region. Raises SettingsError if there is neither,
    or IVS is not available in the latter (the setting was checked when it was read)."""
    regions = known_regions(settings)
    if not regions:
        raise SettingsError(
            [FieldError("TOKENSVC_REGIONS", "must be set, because boto3 has no default region (AWS_REGION) either")]
        )
    if not settings.regions and regions[0] not in ivs_regions():
        known = ", ".join(sorted(ivs_regions()))
        rule = (
            f"must be set, because Amazon IVS is not available in boto3's default region {regions[0]}; its regions "
            f"are: {known}"
        )
        raise SettingsError([FieldError("TOKENSVC_REGIONS", rule)])
    return regions


def known_regions(settings: Settings) -> tuple[str, ...]:
    """The same, or an empty tuple if nothing names a region."""
    return settings.regions or tuple(filter(None, [default_region()]))
