"""Running the service: one worker, or several under a watch; or its background duties alone.

Rules of the file
- The parent binds the listeners and checks everything once, so that a wrong setting fails in one place with one text;
  each worker then reads the same settings and builds its own parts.
- A worker that dies is replaced; one that dies as soon as it starts is replaced more and more slowly. When the parent
  dies, the workers stop by themselves.
- SIGTERM to the parent reaches every worker; the parent ends when they have, with 0 when all did.
- SIGHUP, SIGUSR1 and SIGUSR2 end no process: a terminal that closes or a log rotation that sends one must cause no
  outage. They are logged once and then ignored.
"""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from tokensvc.container import metrics_directory
from tokensvc.errors import FieldError, SettingsError, TokensvcError
from tokensvc.log import exception_fields, structlog
from tokensvc.settings import Settings, read_settings

STOP_SECONDS = 24
"""How long workers may take to stop before they are killed; with the rest it stays within 25."""

_RESTART_MIN_SECONDS, _RESTART_MAX_SECONDS = 0.5, 10.0
_STABLE_SECONDS = 60.0
_METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Set before anything imports prometheus_client, which reads it once; so it is not taken from our adapter either."""
_IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_log = structlog.get_logger(__name__)


def serve_from_env(environ: Mapping[str, str]) -> int:
    """Serve as the TOKENSVC_… variables say, until told to stop. Returns the exit code."""
    from tokensvc.container.logs import configure

    settings = read_settings(environ)
    configure(settings.log_format)
    return serve(settings)


def serve(settings: Settings) -> int:
    """Serve until told to stop. Returns the exit code."""
    ignore_signals()
    metrics_directory.remove_unused()
    if settings.workers == 1:
        listeners = bind_listeners(settings)
        try:
            run_worker(settings, listeners)
        finally:
            _close(listeners)
        return 0
    from tokensvc.container.service import check_startup

    check_startup(settings)
    sockets = bind_listeners(settings)
    directory, lock = metrics_directory.create()
    os.environ[_METRICS_DIRECTORY] = str(directory)
    try:
        return _supervise(settings, sockets)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def ignore_signals(*, closed_terminal_ends: bool = False) -> None:
    """Let no signal end this process that means something else to its sender; `closed_terminal_ends` makes SIGHUP an
    orderly end, unless the process was started to outlive its terminal (nohup). To be called in the main thread."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in _IGNORED_SIGNALS:
        signal.signal(number, _log_once)
    if closed_terminal_ends and not outlives_terminal:
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


def _log_once(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    _log.info("signal ignored", signal=signal.Signals(number).name)


def bind_listeners(settings: Settings) -> list[socket.socket]:
    """The listeners: the public one and, when set, the admin one on loopback. Raises SettingsError."""
    public = bind_listener("TOKENSVC_PORT", settings.host, settings.port)
    try:
        return [public, *_bind_admin(settings)]
    except SettingsError:
        public.close()
        raise


def _close(listeners: Sequence[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def _bind_admin(settings: Settings) -> list[socket.socket]:
    if settings.admin_port is None:
        return []
    return [bind_listener("TOKENSVC_ADMIN_PORT", "127.0.0.1", settings.admin_port)]


def run_background(
    settings: Settings, *, rotation_lease_seconds: float | None = None, dispatch_lease_seconds: float | None = None
) -> int:
    """Do the background duties until told to stop, with a listener only where an admin port is set. The exit code."""
    from tokensvc.container.application import build_worker_application
    from tokensvc.container.reconciler import ROTATION_LEASE_SECONDS
    from tokensvc.container.service import assemble_worker
    from tokensvc.revocations.leader import LEASE_SECONDS
    from tokensvc.web.server import make_server

    ignore_signals()
    parts = assemble_worker(
        settings,
        rotation_lease_seconds=rotation_lease_seconds or ROTATION_LEASE_SECONDS,
        dispatch_lease_seconds=dispatch_lease_seconds or LEASE_SECONDS,
    )
    try:
        sockets = _bind_admin(settings)
        server = make_server(build_worker_application(parts), lambda: None, delay_seconds=0)
        _log.info("working", admin_port=sockets[0].getsockname()[1] if sockets else None)
        server.run(sockets)
    finally:
        parts.store.close()
    return 0


def run_worker(settings: Settings, sockets: Sequence[socket.socket], *, checked: bool = False) -> None:
    """One worker, in this process, until it is told to stop. `checked`: the parent has seen that it can start."""
    from tokensvc.container.application import build_application
    from tokensvc.container.logs import configure
    from tokensvc.container.service import assemble
    from tokensvc.web.server import make_server

    configure(settings.log_format)
    ignore_signals()
    parts = assemble(settings, checked=checked)
    admin_port = sockets[1].getsockname()[1] if len(sockets) > 1 else None
    application = build_application(parts, admin_port=admin_port)
    server = make_server(
        application.asgi,
        application.readiness.drain,
        delay_seconds=settings.shutdown_delay_seconds,
        trusted_proxies=settings.trusted_proxies,
    )
    host, port = sockets[0].getsockname()[:2]
    _log.info(
        "serving",
        host=host,
        port=port,
        admin_port=admin_port,
        signer=parts.signer_choice.signer.name,
        fallback_reason=parts.signer_choice.fallback_reason,
        control_plane=settings.control_plane,
    )
    try:
        server.run(list(sockets))
    finally:
        parts.store.close()


_WRONG_HOST = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)


def bind_listener(what: str, host: str, port: int) -> socket.socket:
    """A bound listener. Raises SettingsError naming the variable or option of the port, or of the host if the host
    cannot be listened on whatever the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, TypeError) as problem:  # TypeError: the name cannot be encoded
        listener.close()
        reason = problem.strerror if isinstance(problem, OSError) else "no address and no name"
        if not isinstance(problem, OSError) or isinstance(problem, socket.gaierror) or problem.errno in _WRONG_HOST:
            what = what.replace("PORT", "HOST").replace("port", "host")
        raise SettingsError([FieldError(what, f"cannot listen on {host}:{port}: {reason}")]) from None
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def _supervise(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    workers = [_start_worker(settings, sockets) for _ in range(settings.workers)]
    started_at = [time.monotonic()] * len(workers)
    pause = 0.0
    while not stopping.is_set():
        multiprocessing.connection.wait([w.sentinel for w in workers], timeout=0.2)
        for position, worker in enumerate(workers):
            if worker.is_alive() or stopping.is_set():
                continue
            _log.error("worker ended and is replaced", pid=worker.pid, exit_code=worker.exitcode)
            _forget_metrics(worker)
            pause = pause_before_restart(pause, time.monotonic() - started_at[position])
            stopping.wait(pause)
            workers[position], started_at[position] = _start_worker(settings, sockets), time.monotonic()
    return _stop_workers(workers)


def pause_before_restart(last_seconds: float, lived_seconds: float) -> float:
    """How long a dead worker's place stays empty: ever longer while they die young, short after one that lived."""
    if lived_seconds > _STABLE_SECONDS:
        return _RESTART_MIN_SECONDS
    return min(max(last_seconds * 2, _RESTART_MIN_SECONDS), _RESTART_MAX_SECONDS)


def _start_worker(settings: Settings, sockets: Sequence[socket.socket]) -> BaseProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_worker_main, args=(settings, list(sockets)))
    with _signals_ignored():
        worker.start()
    return worker


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Have processes that are started meanwhile ignore these signals from their first moment: exec resets handlers, but
    not what is ignored."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker_main(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """What a worker process runs."""
    directory = Path(os.environ[_METRICS_DIRECTORY])
    threading.Thread(target=_stop_with_parent, name="parent-watch", daemon=True).start()
    try:
        lock = metrics_directory.lock(directory)
    except OSError:  # the parent has ended, and the directory with it
        sys.exit(1)
    try:
        run_worker(settings, sockets, checked=True)
    except TokensvcError as failure:
        _log.error("worker cannot start", code=failure.code, problem=failure.operator_message)
        sys.exit(1)
    except Exception as problem:  # noqa: BLE001 - multiprocessing would print it, with its message
        _log.critical("worker failed", **exception_fields(problem))
        sys.exit(1)
    finally:
        os.close(lock)
        metrics_directory.remove_if_unused(directory)  # when the parent was killed, the last worker does it


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _stop_workers(workers: Sequence[BaseProcess]) -> int:
    for worker in workers:
        worker.terminate()
    until = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    late = [worker for worker in workers if worker.is_alive()]
    for worker in late:
        worker.kill()
        worker.join()
    return 1 if late else 0


def _forget_metrics(worker: BaseProcess) -> None:
    """A dead worker's gauges must not be shown for ever."""
    from tokensvc.container.prometheus import forget_process

    forget_process(worker.pid)
