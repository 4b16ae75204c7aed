"""Runs the service: one worker, several supervised workers, or only the background tasks.

Invariants
- The parent binds the listeners and checks everything once, so that a wrong setting is reported once; each worker then
  assembles its own service from the same settings.
- A worker that exits is restarted; one that exits soon after its start is restarted with an increasing delay. If the
  parent dies, the workers stop.
- SIGTERM to the parent is passed to every worker; the parent exits after them, with 0 if all stopped in time.
- SIGHUP, SIGUSR1 and SIGUSR2 stop no process: a closed terminal or a log rotation must not cause an outage. Each is
  logged once and then ignored.
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
"""How long workers may take to stop before they are killed; the whole shutdown then takes less than 25 seconds."""

_RESTART_MIN_SECONDS, _RESTART_MAX_SECONDS = 0.5, 10.0
_STABLE_SECONDS = 60.0
_METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Must be set before prometheus_client is imported, which reads it once; therefore the name is not imported from
`container/prometheus.py`."""
_IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

_log = structlog.get_logger(__name__)


def serve_from_env(environ: Mapping[str, str]) -> int:
    """Read the TOKENSVC_… variables and serve until stopped. Returns the exit code. Raises SettingsError."""
    from tokensvc.container.logs import configure

    settings = read_settings(environ)
    configure(settings.log_format)
    return serve(settings)


def serve(settings: Settings) -> int:
    """Serve until stopped. Returns the exit code."""
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


def ignore_signals(*, sighup_stops: bool = False) -> None:
    """Ignore the signals that are not meant to stop the process. With `sighup_stops`, SIGHUP stops it gracefully,
    unless it was started to outlive its terminal (nohup). Call it in the main thread."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in _IGNORED_SIGNALS:
        signal.signal(number, _log_once)
    if sighup_stops and not outlives_terminal:
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


def _log_once(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    _log.info("signal ignored", signal=signal.Signals(number).name)


def bind_listeners(settings: Settings) -> list[socket.socket]:
    """Bind the public listener and, if its port is set, the admin listener on loopback. Raises SettingsError."""
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
    """Run the background tasks until stopped, with a listener only if an admin port is set. Returns the exit code."""
    from tokensvc.container.application import build_worker_application
    from tokensvc.container.keys_context import ROTATION_LEASE_SECONDS
    from tokensvc.container.service import assemble_worker
    from tokensvc.revocations.leader import LEASE_SECONDS
    from tokensvc.web.server import make_server

    ignore_signals()
    service = assemble_worker(
        settings,
        rotation_lease_seconds=rotation_lease_seconds or ROTATION_LEASE_SECONDS,
        dispatch_lease_seconds=dispatch_lease_seconds or LEASE_SECONDS,
    )
    try:
        sockets = _bind_admin(settings)
        server = make_server(build_worker_application(service), lambda: None, delay_seconds=0)
        _log.info("running background tasks", admin_port=sockets[0].getsockname()[1] if sockets else None)
        server.run(sockets)
    finally:
        service.store.close()
    return 0


def run_worker(settings: Settings, sockets: Sequence[socket.socket], *, checked: bool = False) -> None:
    """Run one worker in this process until stopped. `checked`: the parent has checked that it can start."""
    from tokensvc.container.application import build_application
    from tokensvc.container.logs import configure
    from tokensvc.container.service import assemble
    from tokensvc.web.server import make_server

    configure(settings.log_format)
    ignore_signals()
    service = assemble(settings, checked=checked)
    admin_port = sockets[1].getsockname()[1] if len(sockets) > 1 else None
    application = build_application(service, admin_port=admin_port)
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
        signer=service.signer_choice.signer.name,
        fallback_reason=service.signer_choice.fallback_reason,
        control_plane=settings.control_plane,
    )
    try:
        server.run(list(sockets))
    finally:
        service.store.close()


_HOST_ERRORS = (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAFNOSUPPORT)


def bind_listener(port_name: str, host: str, port: int) -> socket.socket:
    """Bind and listen. Raises SettingsError naming the variable or option `port_name`, or that of the host if the host
    is at fault."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, TypeError) as error:  # TypeError: the name cannot be encoded
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "not a valid address or host name"
        if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or error.errno in _HOST_ERRORS:
            port_name = port_name.replace("PORT", "HOST").replace("port", "host")
        raise SettingsError([FieldError(port_name, f"cannot listen on {host}:{port}: {reason}")]) from None
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
            _log.error("worker exited and will be restarted", pid=worker.pid, exit_code=worker.exitcode)
            _drop_metrics(worker)
            pause = restart_delay(pause, time.monotonic() - started_at[position])
            stopping.wait(pause)
            workers[position], started_at[position] = _start_worker(settings, sockets), time.monotonic()
    return _stop_workers(workers)


def restart_delay(previous_seconds: float, lifetime_seconds: float) -> float:
    """Seconds to wait before a worker is restarted: increasing while workers exit early, short after a stable one."""
    if lifetime_seconds > _STABLE_SECONDS:
        return _RESTART_MIN_SECONDS
    return min(max(previous_seconds * 2, _RESTART_MIN_SECONDS), _RESTART_MAX_SECONDS)


def _start_worker(settings: Settings, sockets: Sequence[socket.socket]) -> BaseProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_worker_main, args=(settings, list(sockets)))
    with _signals_ignored():
        worker.start()
    return worker


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Make processes that are started meanwhile ignore these signals from the beginning: exec resets handlers, but not
    ignored signals."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _worker_main(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    """The main function of a worker process."""
    directory = Path(os.environ[_METRICS_DIRECTORY])
    threading.Thread(target=_stop_with_parent, name="parent-watch", daemon=True).start()
    try:
        lock = metrics_directory.lock(directory)
    except OSError:  # the parent has exited and removed the directory
        sys.exit(1)
    try:
        run_worker(settings, sockets, checked=True)
    except TokensvcError as failure:
        _log.error("worker cannot start", code=failure.code, error=failure.operator_message)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - multiprocessing would print it, with its message
        _log.critical("worker failed", **exception_fields(error))
        sys.exit(1)
    finally:
        os.close(lock)
        metrics_directory.remove_if_unused(directory)  # if the parent was killed, the last worker removes it


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
    remaining = [worker for worker in workers if worker.is_alive()]
    for worker in remaining:
        worker.kill()
        worker.join()
    return 1 if remaining else 0


def _drop_metrics(worker: BaseProcess) -> None:
    """Stop exporting the gauges of a worker that has exited."""
    from tokensvc.container.prometheus import forget_process

    forget_process(worker.pid)
