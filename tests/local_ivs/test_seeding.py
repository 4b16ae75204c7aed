"""A seed file is applied: what it says is there afterwards, once, or nothing has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_ACCOUNT, OTHER_REGION, FrozenClock, all_stored, pem
from tokensvc.errors import SettingsError
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.seed_file import SeedFile, read_seed_file
from tokensvc.local_ivs.seeding import apply_seed
from tokensvc.local_ivs.storage import SqliteResourceStore

MAIN = "[channels.main]\nauthorized = true\nlive = true\n"


class Seeder:
    """Applies texts of seed files to the account HERE."""

    def __init__(self, folder: Path, resources: SqliteResourceStore, clock: FrozenClock) -> None:
        self.prepared: list[tuple[str, str]] = []
        """ARN and name of the channels whose media were prepared."""
        self._file = folder / "channels.toml"
        self._resources = resources
        self._clock = clock

    def read(self, text: str) -> SeedFile:
        self._file.write_text(text)
        return read_seed_file(self._file)

    def __call__(self, text: str) -> None:
        apply_seed(self.read(text), HERE, self._resources, self._clock, random_string, self._prepare)

    def _prepare(self, channel_arn: str, channel_name: str) -> None:
        self.prepared.append((channel_arn, channel_name))

    def refusal(self, text: str) -> str:
        """The error with which this text is refused, after which nothing may have changed."""
        before = all_stored(self._resources, HERE)
        with pytest.raises(SettingsError) as refused:
            self(text)
        assert all_stored(self._resources, HERE) == before
        [error] = refused.value.errors
        return f"{error.field.removeprefix(f'{self._file}:')} {error.message}"


@pytest.fixture
def seed(tmp_path: Path, resources: SqliteResourceStore, clock: FrozenClock) -> Seeder:
    return Seeder(tmp_path, resources, clock)


@pytest.fixture
def channel(call: CallIvs, resources: SqliteResourceStore) -> Any:
    """Returns the only channel with a name, and whether it is live."""

    def find(name: str = "main") -> tuple[dict[str, Any], bool]:
        [found] = call("ListChannels", HERE, filterByName=name)["channels"]
        with resources.begin(write=False) as transaction:
            return found, stream_of(transaction, found["arn"]) is not None

    return find


def test_channels_key_pairs_and_policies_are_created(seed: Seeder, call: CallIvs, channel: Any) -> None:
    policy = '\nrestriction_policy = "europe"\ntags = { team = "web" }\n'
    pair = f"[playback_key_pairs.backend]\npublic_key = '''\n{pem(1)}'''\ntags = {{ a = 'b' }}\n"
    europe = '[restriction_policies.europe]\nallowed_countries = ["DE"]\nstrict_origin_enforcement = true\n'
    seed(MAIN + policy + pair + europe)
    main, is_live = channel()
    assert (main["authorized"], main["tags"], is_live) == (True, {"team": "web"}, True)
    [found] = call("ListPlaybackRestrictionPolicies")["playbackRestrictionPolicies"]
    assert (found["name"], found["allowedCountries"]) == ("europe", ["DE"])
    assert (found["enableStrictOriginEnforcement"], main["playbackRestrictionPolicyArn"]) == (True, found["arn"])
    [imported] = call("ListPlaybackKeyPairs")["keyPairs"]
    assert (imported["name"], imported["tags"]) == ("backend", {"a": "b"})


def test_a_file_may_be_applied_again(seed: Seeder, resources: SqliteResourceStore) -> None:
    text = MAIN + f"[playback_key_pairs.backend]\npublic_key = '''{pem(1)}'''\n[restriction_policies.none]\n"
    seed(text)
    before = all_stored(resources, HERE)
    seed(text)
    assert all_stored(resources, HERE) == before


def test_what_differs_is_changed_and_the_rest_stays(seed: Seeder, call: CallIvs, channel: Any) -> None:
    other = call("CreateChannel", HERE, name="by-hand")["channel"]["arn"]
    seed("[channels.main]\ntags = { a = '1', b = '2' }\n[restriction_policies.europe]\n")
    before, _ = channel()
    seed(
        "[channels.main]\nauthorized = true\ntags = { b = '3' }\nrestriction_policy = 'europe'\n"
        "[restriction_policies.europe]\nallowed_countries = ['FR']\n"
    )
    after, is_live = channel()
    assert (after["arn"], after["authorized"], after["tags"]) == (before["arn"], True, {"b": "3"})
    assert not is_live
    [policy] = call("ListPlaybackRestrictionPolicies")["playbackRestrictionPolicies"]
    assert (policy["allowedCountries"], after["playbackRestrictionPolicyArn"]) == (["FR"], policy["arn"])
    assert call("GetChannel", HERE, arn=other)["channel"]["name"] == "by-hand"


def test_live_starts_and_stops_a_stream_and_without_it_nothing_does(seed: Seeder, channel: Any) -> None:
    seed(MAIN)
    seed("[channels.main]\nauthorized = true\n")
    assert channel()[1]
    seed("[channels.main]\nauthorized = false\nlive = false\n")
    assert (channel()[0]["authorized"], channel()[1]) == (False, False)


def test_only_one_account_and_region_is_changed(seed: Seeder, call: CallIvs) -> None:
    seed(f'region = "{OTHER_REGION.region}"\n{MAIN}')
    assert call("ListChannels", OTHER_ACCOUNT)["channels"] == []
    assert call("ListChannels", HERE)["channels"] == []
    assert len(call("ListChannels", OTHER_REGION)["channels"]) == 1


def test_a_file_that_breaks_a_rule_of_ivs_changes_nothing(seed: Seeder) -> None:
    assert seed.refusal(MAIN + '[channels."white:space"]\n').startswith("4: channels.white:space is refused by IVS: ")
    four = "".join(f"[playback_key_pairs.k{n}]\npublic_key = '''{pem(n)}'''\n" for n in range(4))
    assert seed.refusal(MAIN + four).endswith(
        "playback_key_pairs.k3 is refused by IVS: The quota is reached: 3 playback key pairs per account and region"
    )
    assert seed.refusal("[restriction_policies.x]\nallowed_countries = ['ZZ']\n").startswith(
        "1: restriction_policies.x"
    )


@pytest.mark.parametrize("live", ["live = true\n", ""])
def test_a_live_channel_is_changed_and_is_live_again(seed: Seeder, channel: Any, live: str) -> None:
    """As on a restart with a changed file: no server runs that could stop the stream."""
    seed("[channels.main]\nlive = true\n")
    before, _ = channel()
    seed(f"[channels.main]\nauthorized = true\nrestriction_policy = 'none'\n{live}[restriction_policies.none]\n")
    after, is_live = channel()
    assert (before["authorized"], after["authorized"]) == (False, True)
    assert after["playbackRestrictionPolicyArn"]
    assert (after["arn"], is_live) == (before["arn"], True)


def test_a_stream_runs_on_if_only_the_tags_of_its_channel_differ(seed: Seeder, call: CallIvs, channel: Any) -> None:
    def stream_ids() -> list[str]:
        return [stream["streamId"] for stream in call("ListStreams", HERE)["streams"]]

    seed(MAIN)
    before = stream_ids()
    seed(MAIN + "tags = { team = 'web' }\n")
    assert channel()[0]["tags"] == {"team": "web"}
    assert stream_ids() == before != []


def test_a_stream_of_a_changed_channel_runs_on_if_the_file_is_refused(seed: Seeder) -> None:
    seed(MAIN)
    assert "channels.white:space" in seed.refusal('[channels.main]\n[channels."white:space"]\n')


def test_a_region_without_ivs_is_refused(seed: Seeder) -> None:
    assert seed.refusal('region = "mars-1"\n') == "1: region must be a region of Amazon IVS"


def test_the_media_of_a_channel_are_prepared_when_it_goes_live(seed: Seeder, channel: Any) -> None:
    seed(f"{MAIN}[channels.other]\n")
    assert seed.prepared == [(channel()[0]["arn"], "main")]
    seed(MAIN)
    assert len(seed.prepared) == 1


def test_a_live_channel_starts_anew_when_its_policy_has_changed(
    seed: Seeder, channel: Any, resources: SqliteResourceStore
) -> None:
    """A stream keeps the policy that it started with, and outlives the server."""
    text = "[channels.main]\nlive = true\nrestriction_policy = 'one'\n[restriction_policies.one]\n"

    def enforced() -> Any:
        arn = channel()[0]["arn"]
        with resources.begin(write=False) as transaction:
            stream = stream_of(transaction, arn)
        assert stream is not None
        return stream.body

    seed(text + "allowed_countries = ['DE']\n")
    before = enforced()
    assert before["playbackRestrictionPolicy"]["allowedCountries"] == ["DE"]
    seed(text + "allowed_countries = ['DE']\n")
    assert enforced() == before
    seed(text + "allowed_countries = ['FR']\n")
    after = enforced()
    assert after["playbackRestrictionPolicy"]["allowedCountries"] == ["FR"]
    seed(text + "allowed_countries = ['FR']\ntags = { team = 'web' }\n")
    assert enforced()["streamId"] == after["streamId"], "tags restrict nothing"


def test_a_live_channel_starts_anew_when_a_client_has_changed_its_policy_to_what_the_file_says(
    seed: Seeder, channel: Any, call: CallIvs, resources: SqliteResourceStore
) -> None:
    text = "[channels.main]\nlive = true\nrestriction_policy = 'one'\n[restriction_policies.one]\n"
    seed(text + "allowed_countries = ['DE']\n")
    call("UpdatePlaybackRestrictionPolicy", arn=channel()[0]["playbackRestrictionPolicyArn"], allowedCountries=["FR"])
    seed(text + "allowed_countries = ['FR']\n")
    arn = channel()[0]["arn"]
    with resources.begin(write=False) as transaction:
        stream = stream_of(transaction, arn)
    assert stream is not None
    assert stream.body["playbackRestrictionPolicy"]["allowedCountries"] == ["FR"]
