"""The Python interface of the C extension: for any arguments it signs correctly, raises, or returns None for a lane."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.machinery
import importlib.util
import multiprocessing
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.signers import needs_multibuffer
from tokensvc.jose import es384, keypair
from tokensvc.jose.es384 import digest

if TYPE_CHECKING:
    from tokensvc.jose.signing import _multibuffer
else:
    _multibuffer = pytest.importorskip(
        "tokensvc.jose.signing._multibuffer", reason="this installation has no C extension", exc_type=ImportError
    )

pytestmark = needs_multibuffer

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
NAME = "tokensvc.jose.signing._multibuffer"
_SECRETS = [keypair.generate() for _ in range(8)]
_KEYS = [_multibuffer.Key(key.private_numbers().private_value.to_bytes(48, "big")) for key in _SECRETS]
_KEY, _DIGEST = _KEYS[0], digest(b"data")


class Bytes(bytes):
    """A subclass of bytes with a wrong length."""

    def __len__(self) -> int:
        return 1000


class Tuple(tuple[Any, ...]):
    """A subclass of tuple with a wrong length and without item access."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, item: Any) -> Any:
        raise AssertionError("an item was accessed")


def number(value: int) -> bytes:
    return value.to_bytes(48, "big")


def all_signed(signatures: Sequence[bytes | None]) -> list[bytes]:
    assert None not in signatures
    return [signature for signature in signatures if signature]


forks_beside_threads = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
"""The fork tests do on purpose what CPython warns about."""

_PIECE = 16
"""How many bytes of each r are compared: among a million, two are equal by chance once in 2^88 runs."""


def r_of_calls(calls: int) -> bytes:
    """The first bytes of the r of each signature, eight per call, always with the same key and digest."""
    requests = ((_KEY, _DIGEST),) * 8
    made = b"".join([(each or b"")[:_PIECE] for _ in range(calls) for each in _multibuffer.sign(requests)])
    assert len(made) == calls * 8 * _PIECE
    return made


def pieces(made: bytes) -> Iterator[bytes]:
    return (made[start : start + _PIECE] for start in range(0, len(made), _PIECE))


def _send_r(end: Any) -> None:
    end.send(r_of_calls(50))
    end.close()


@contextlib.contextmanager
def signing_in_a_thread() -> Iterator[None]:
    stop = threading.Event()

    def sign_on() -> None:
        while not stop.is_set():
            _multibuffer.sign(((_KEY, _DIGEST),) * 8)

    thread = threading.Thread(target=sign_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class TestKeys:
    @pytest.mark.parametrize("value", [0, ORDER, ORDER + 1, 2**384 - 1])
    def test_a_number_out_of_range_is_rejected(self, value: int) -> None:
        with pytest.raises(ValueError, match="between 1 and the order of P-384 minus 1"):
            _multibuffer.Key(number(value))

    @pytest.mark.parametrize("value", [1, 2, ORDER - 2, ORDER - 1])
    @pytest.mark.parametrize("lanes", [1, 8])
    def test_the_smallest_and_largest_keys_sign(self, value: int, lanes: int) -> None:
        key = _multibuffer.Key(number(value))
        public_key = ec.derive_private_key(value, ec.SECP384R1()).public_key()
        for signature in all_signed(_multibuffer.sign(((key, _DIGEST),) * lanes)):
            assert es384.verify(public_key, b"data", signature)

    @pytest.mark.parametrize("size", [0, 1, 47, 49, 96, 1 << 20])
    def test_another_length_is_rejected(self, size: int) -> None:
        with pytest.raises(ValueError, match=f"must have 48 bytes, not {size}"):
            _multibuffer.Key(b"\1" * size)

    @pytest.mark.parametrize(
        "arguments",
        [(), (None,), (1,), ("1" * 48,), (bytearray(48),), (memoryview(b"\1" * 48),), (number(1), number(1))],
    )
    def test_other_arguments_are_rejected(self, arguments: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            _multibuffer.Key(*arguments)

    def test_keyword_arguments_are_rejected(self) -> None:
        make: Any = _multibuffer.Key
        with pytest.raises(TypeError):
            make(secret=number(1))
        with pytest.raises(TypeError):
            make(number(1), secret=number(1))

    def test_the_content_of_a_subclass_of_bytes_is_used(self) -> None:
        key = _multibuffer.Key(Bytes(number(5)))
        [signature] = all_signed(_multibuffer.sign(((key, Bytes(_DIGEST)),)))
        assert es384.verify(ec.derive_private_key(5, ec.SECP384R1()).public_key(), b"data", signature)
        with pytest.raises(ValueError, match="must have 48 bytes, not 5"):
            _multibuffer.Key(Bytes(b"short"))

    @pytest.mark.parametrize(
        "make",
        [lambda: object.__new__(_multibuffer.Key), lambda: _multibuffer.Key.__new__(_multibuffer.Key)],
        ids=["object.__new__", "Key.__new__"],
    )
    def test_there_is_no_key_without_a_number(self, make: Callable[[], object]) -> None:
        with pytest.raises(TypeError):
            make()

    def test_initializing_it_again_changes_nothing(self) -> None:
        key = _multibuffer.Key(number(5))
        for value in (7, 0):
            key.__init__(number(value))  # type: ignore[misc]
        [signature] = all_signed(_multibuffer.sign(((key, _DIGEST),)))
        assert es384.verify(ec.derive_private_key(5, ec.SECP384R1()).public_key(), b"data", signature)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_key_cannot_be_pickled(self, protocol: int) -> None:
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(_KEY, protocol)

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
    def test_a_key_cannot_be_copied(self, copied: Callable[[object], object]) -> None:
        with pytest.raises(TypeError, match="cannot pickle"):
            copied(_KEY)

    def test_the_key_type_cannot_be_subclassed(self) -> None:
        with pytest.raises(TypeError, match="not an acceptable base type"):
            type("Derived", (_multibuffer.Key,), {})

    def test_the_key_type_is_immutable(self) -> None:
        class Other:
            __slots__ = ()

        with pytest.raises(TypeError, match="immutable type"):
            setattr(_multibuffer.Key, "__repr__", lambda _: "")  # noqa: B010 - mypy knows it to be wrong
        for instance, kind in ((_KEY, Other), (Other(), _multibuffer.Key)):
            with pytest.raises(TypeError):
                instance.__class__ = kind

    def test_a_key_has_no_attributes_and_no_weak_references(self) -> None:
        with pytest.raises(AttributeError):
            setattr(_KEY, "anything", 1)  # noqa: B010 - mypy knows it to be wrong
        with pytest.raises(TypeError):
            weakref.ref(_KEY)

    def test_a_key_shows_nothing_of_its_number(self) -> None:
        value = _SECRETS[0].private_numbers().private_value
        shown = [repr(_KEY), str(_KEY), f"{_KEY}", repr(_KEY.__getstate__() if hasattr(_KEY, "__getstate__") else "")]
        shown += [repr(getattr(_KEY, name)) for name in dir(_KEY) if name not in {"__class__", "__doc__"}]
        for limb in (value >> 64 * at & 2**64 - 1 for at in range(6)):
            assert not [text for text in shown if f"{limb:x}" in text or str(limb) in text]
        with pytest.raises(TypeError):
            memoryview(_KEY)  # type: ignore[arg-type]

    def test_two_keys_with_the_same_number_are_not_equal(self) -> None:
        """They are compared and hashed by identity, not by the secret."""
        one, other = _multibuffer.Key(number(5)), _multibuffer.Key(number(5))
        assert one != other
        assert len({one, other}) == 2


class TestArguments:
    @pytest.mark.parametrize("requests", [None, 1, b"", [(_KEY, _DIGEST)], {_KEY: _DIGEST}, iter([(_KEY, _DIGEST)])])
    def test_anything_but_a_tuple_of_requests_is_rejected(self, requests: Any) -> None:
        with pytest.raises(TypeError, match="the requests must be a tuple"):
            _multibuffer.sign(requests)

    @pytest.mark.parametrize("count", [0, 9, 10, 1000])
    def test_no_requests_and_too_many_are_rejected(self, count: int) -> None:
        with pytest.raises(ValueError, match=f"1 to 8 requests, not {count}"):
            _multibuffer.sign(((_KEY, _DIGEST),) * count)

    @pytest.mark.parametrize(
        "request_",
        [
            None,
            (),
            (_KEY,),
            [_KEY, _DIGEST],
            (_KEY, _DIGEST, _DIGEST),
            (_DIGEST, _KEY),
            (None, _DIGEST),
            (object(), _DIGEST),
            (_multibuffer.Key, _DIGEST),
            (_KEY, None),
            (_KEY, "x" * 48),
            (_KEY, bytearray(_DIGEST)),
            (_KEY, memoryview(_DIGEST)),
        ],
    )
    @pytest.mark.parametrize("lane", [0, 3, 7])
    def test_a_request_with_other_types_is_rejected(self, lane: int, request_: Any) -> None:
        requests: list[Any] = [(_KEY, _DIGEST)] * 8
        requests[lane] = request_
        with pytest.raises(TypeError):
            _multibuffer.sign(tuple(requests))

    @pytest.mark.parametrize("size", [0, 1, 32, 47, 49, 64, 1 << 20])
    @pytest.mark.parametrize("lane", [0, 7])
    def test_a_digest_of_another_length_is_rejected(self, lane: int, size: int) -> None:
        requests = [(_KEY, _DIGEST)] * 8
        requests[lane] = (_KEY, bytes(size))
        with pytest.raises(ValueError, match=f"a digest must have 48 bytes, not {size}"):
            _multibuffer.sign(tuple(requests))

    def test_the_content_of_a_subclass_of_tuple_is_used(self) -> None:
        signatures = all_signed(_multibuffer.sign(Tuple([Tuple((_KEY, _DIGEST))] * 3)))
        assert len(signatures) == 3
        assert all(es384.verify(_SECRETS[0].public_key(), b"data", signature) for signature in signatures)
        with pytest.raises(TypeError):
            _multibuffer.sign(Tuple([Tuple((_KEY,))]))

    @pytest.mark.parametrize("count", range(3))
    def test_the_other_functions_take_no_arguments(self, count: int) -> None:
        for function in (_multibuffer.supported, _multibuffer.self_test):
            call: Any = function
            with pytest.raises(TypeError):
                call(*[b"\1" * 48] * (count + 1))
        sign: Any = _multibuffer.sign
        with pytest.raises(TypeError):
            sign(*[((_KEY, _DIGEST),)] * (count + 2))

    def test_the_module_has_no_other_functions(self) -> None:
        """No function takes a nonce."""
        assert {name for name in dir(_multibuffer) if not name.startswith("__")} == {
            "Key",
            "LANES",
            "self_test",
            "sign",
            "supported",
        }

    _junk = st.recursive(
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=60),
            st.binary(max_size=100),
            st.binary(min_size=48, max_size=48),
            st.sampled_from([_KEY, _DIGEST, Bytes(_DIGEST), _multibuffer.Key, Tuple(), number(0), number(ORDER)]),
            st.tuples(st.just(_KEY), st.binary(min_size=48, max_size=48)),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=10),
            st.lists(inner, max_size=10).map(tuple),
            st.lists(inner, max_size=10).map(Tuple),
            st.tuples(inner, inner),
        ),
        max_leaves=12,
    )

    @given(junk=_junk)
    def test_any_argument_is_signed_or_rejected(self, junk: Any) -> None:
        for call in (_multibuffer.sign, _multibuffer.Key):
            try:
                result = call(junk)
            except (TypeError, ValueError):
                continue
            if isinstance(result, list):
                assert len(result) == tuple.__len__(junk)
                for (_, hashed), signature in zip(map(tuple.__iter__, tuple.__iter__(junk)), result, strict=True):
                    assert (signature is None) == (not 0 < int.from_bytes(memoryview(hashed), "big") < ORDER)


class TestSigning:
    @pytest.mark.parametrize("value", [0, ORDER, ORDER + 1, 2**384 - 1])
    @pytest.mark.parametrize("lane", range(8))
    def test_only_a_digest_out_of_range_has_no_signature(self, lane: int, value: int) -> None:
        requests = [(key, _DIGEST) for key in _KEYS]
        requests[lane] = (_KEYS[lane], number(value))
        signatures = _multibuffer.sign(tuple(requests))
        assert [at for at in range(8) if signatures[at] is None] == [lane]
        for key, signature in zip(_SECRETS, signatures, strict=True):
            assert signature is None or es384.verify(key.public_key(), b"data", signature)

    @pytest.mark.parametrize("value", [1, ORDER - 1])
    @pytest.mark.parametrize("lane", range(8))
    def test_the_smallest_and_largest_digests_have_a_signature(self, lane: int, value: int) -> None:
        from tokensvc.jose.signing.aws_lc import AwsLcKey

        requests = [(key, _DIGEST) for key in _KEYS]
        requests[lane] = (_KEYS[lane], number(value))
        signatures = all_signed(_multibuffer.sign(tuple(requests)))
        for key, (_, hashed), signature in zip(_SECRETS, requests, signatures, strict=True):
            assert AwsLcKey(key).verify(hashed, signature)

    @given(requested=st.lists(st.tuples(st.integers(0, 7), st.binary(max_size=8)), min_size=1, max_size=8))
    def test_each_lane_is_signed_with_its_own_key_and_digest(self, requested: list[tuple[int, bytes]]) -> None:
        """For any number of lanes, with mixed and repeated keys."""
        signatures = _multibuffer.sign(tuple([(_KEYS[key], digest(data)) for key, data in requested]))
        for (key, data), signature in zip(requested, all_signed(signatures), strict=True):
            assert es384.verify(_SECRETS[key].public_key(), data, signature)
            assert not es384.verify(_SECRETS[(key + 1) % 8].public_key(), data, signature)

    def test_each_lane_gets_a_nonce_of_its_own(self) -> None:
        made = [
            *all_signed(_multibuffer.sign(((_KEY, _DIGEST),) * 8)),
            *all_signed(_multibuffer.sign(((_KEY, _DIGEST),))),
        ]
        assert len({signature[:48] for signature in made}) == 9

    def test_the_self_test_passes(self) -> None:
        assert _multibuffer.supported() is True
        _multibuffer.self_test()


@pytest.mark.slow
class TestReferences:
    @staticmethod
    def calls() -> list[Callable[[], object]]:
        calls: list[Callable[[], object]] = [
            lambda: _multibuffer.Key(number(5)),
            lambda: _multibuffer.Key(number(0)),
            lambda: _multibuffer.Key(b"short"),
            lambda: _multibuffer.Key(None),  # type: ignore[arg-type]
            lambda: _multibuffer.sign(((_KEY, _DIGEST),) * 8),
            lambda: _multibuffer.sign(((_KEY, _DIGEST), (_KEY, number(0)))),
            lambda: _multibuffer.sign(((_KEY, _DIGEST), (_KEY, b"short"))),
            lambda: _multibuffer.sign(((_KEY, _DIGEST), (_DIGEST, _KEY))),  # type: ignore[arg-type]
            lambda: _multibuffer.sign(()),
            lambda: _multibuffer.sign([]),  # type: ignore[arg-type]
            _multibuffer.supported,
            _multibuffer.self_test,
        ]
        return calls

    @pytest.mark.long
    @pytest.mark.parametrize("number_", range(12))
    def test_nothing_is_leaked(self, number_: int) -> None:
        """Neither references to the arguments nor memory are leaked."""
        call = self.calls()[number_]

        def repeat() -> None:
            for _ in range(200):
                with contextlib.suppress(TypeError, ValueError):
                    call()

        repeat()
        watched = (_KEY, _DIGEST, _multibuffer.Key, _multibuffer)
        gc.collect()
        counts, blocks = [sys.getrefcount(each) for each in watched], sys.getallocatedblocks()
        nones = sys.getrefcount(None)
        repeat()
        gc.collect()
        assert [sys.getrefcount(each) for each in watched] == counts
        assert abs(sys.getrefcount(None) - nones) < 100, "other code uses None too"
        assert sys.getallocatedblocks() - blocks < 100, "less than one block per call"

    def test_a_key_may_be_deleted_right_after_signing(self) -> None:
        for _ in range(100):
            [signature] = all_signed(_multibuffer.sign(((_multibuffer.Key(number(5)), digest(b"data")),)))
        assert es384.verify(ec.derive_private_key(5, ec.SECP384R1()).public_key(), b"data", signature)


class TestModules:
    @staticmethod
    def load_again() -> ModuleType:
        """Load the extension again, as a second module."""
        path = _multibuffer.__file__
        assert path is not None
        loader = importlib.machinery.ExtensionFileLoader(NAME, path)
        spec = importlib.util.spec_from_file_location(NAME, path, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module

    def test_a_second_module_has_a_type_of_its_own(self) -> None:
        other = self.load_again()
        assert other.Key is not _multibuffer.Key
        assert len(other.sign(((other.Key(number(5)), _DIGEST),))) == 1
        with pytest.raises(TypeError, match="must begin with a Key"):
            other.sign(((_KEY, _DIGEST),))

    def test_a_second_module_is_freed_without_references(self) -> None:
        other = self.load_again()
        references = weakref.ref(other), weakref.ref(other.Key)
        key, sign = other.Key(number(5)), other.sign
        del other
        gc.collect()
        assert len(sign(((key, _DIGEST),))) == 1, "its function and its key keep it alive"
        del key, sign
        gc.collect()
        assert [reference() for reference in references] == [None, None]

    def test_it_works_in_a_subinterpreter(self) -> None:
        """CPython's module for them is not public. This one shares the GIL."""
        interpreters: Any = pytest.importorskip("_xxsubinterpreters", reason="this Python has no such module")
        interpreter = interpreters.create(isolated=False)
        try:
            interpreters.run_string(
                interpreter,
                f"import sys; sys.path[:] = {sys.path!r}\n"
                "from tokensvc.jose.signing import _multibuffer as m\n"
                "m.self_test()\n"
                "key = m.Key(bytes(47) + b'\\5')\n"
                "assert None not in m.sign(((key, b'\\1' * 48),) * 8)\n",
            )
        finally:
            interpreters.destroy(interpreter)
        assert len(all_signed(_multibuffer.sign(((_KEY, _DIGEST),) * 8))) == 8


class TestThreadsAndProcesses:
    def test_eight_threads_sign_at_the_same_time(self) -> None:
        together, made, wrong = threading.Barrier(8), [set[bytes]() for _ in range(8)], list[BaseException]()

        def work(thread: int) -> None:
            try:
                together.wait(10)
                for _ in range(50):
                    signatures = all_signed(_multibuffer.sign(tuple([(key, digest(b"%d" % thread)) for key in _KEYS])))
                    made[thread] |= {*signatures}
                for key, signature in zip(_SECRETS, signatures, strict=True):
                    assert es384.verify(key.public_key(), b"%d" % thread, signature)
            except BaseException as error:  # noqa: BLE001 - for the thread that runs the test
                wrong.append(error)

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert len({signature[:48] for some in made for signature in some}) == 8 * 50 * 8

    @forks_beside_threads
    def test_after_a_fork_no_two_processes_use_the_same_nonce(self) -> None:
        """Forked while a thread signs, so that the extension's memory is copied; with the same key and digest."""
        context = multiprocessing.get_context("fork")
        children = []
        with signing_in_a_thread():
            for _ in range(4):
                parent_end, child_end = context.Pipe()
                child = context.Process(target=_send_r, args=[child_end])
                child.start()
                children.append((parent_end, child))
        made = [r_of_calls(50)]
        for parent_end, child in children:
            made.append(parent_end.recv())
            child.join(30)
            assert child.exitcode == 0
        assert len({*pieces(b"".join(made))}) == 5 * 50 * 8

    def test_it_works_in_development_mode(self) -> None:
        """With CPython's own memory checks, and warnings as errors."""
        code = (
            "from tokensvc.jose.signing import _multibuffer as m\n"
            "m.self_test()\n"
            "key = m.Key(bytes(47) + b'\\5')\n"
            "for count in range(1, 9):\n"
            "    assert None not in m.sign(((key, b'\\1' * 48),) * count)\n"
            "for junk in (None, (), ((key, b''),), ((key, bytes(48)),), ((1, b''),)):\n"
            "    try:\n"
            "        m.sign(junk)\n"
            "    except (TypeError, ValueError):\n"
            "        pass\n"
            "del key\n"
        )
        ran = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.long
@forks_beside_threads
def test_no_r_is_repeated_in_a_million_signatures() -> None:
    """In four processes, forked while a thread signs, always with the same key and digest."""
    calls = 1_000_000 // 8 // 4
    with signing_in_a_thread():
        pool = multiprocessing.get_context("fork").Pool(3)
    with pool:
        shares = [pool.apply_async(r_of_calls, [calls]) for _ in range(3)]
        made = b"".join([r_of_calls(calls), *(share.get(600) for share in shares)])
    pool.join()
    assert len({*pieces(made)}) == 1_000_000
