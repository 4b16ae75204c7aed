"""Runs the service: one worker, several supervised workers, or only the background tasks.

Invariants
- The parent binds the listeners and checks everything once, so that a wrong setting is reported once; each worker then
  assembles its own service from the same settings.
- A worker that exits is restarted; one that exits soon after its start is restarted with an increasing delay. If the
  parent dies, the workers stop.
- The parent never gives up: a worker that cannot be started, for lack of processes or file descriptors, is tried again
  with the same delays, and nothing about metrics keeps it from restarting a worker.
- SIGTERM to the parent is passed to every worker; the parent exits after them, with 0 if all stopped in time. It leaves
  no worker behind whatever makes it exit.
- SIGHUP, SIGUSR1 and SIGUSR2 stop no process: a closed terminal or a log rotation must not cause an outage. SIGHUP
  makes a process read the log's level again; the parent passes it to its workers. One that arrives while a worker
  starts is pending until the worker can handle it. The others are logged once and then ignored.
- A worker has a number, which its successor gets too.
"""

from __future__ import annotations

import errno
import ipaddress
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tokensvc.container import metrics_directory
from tokensvc.errors import FieldError, SettingsError, TokensvcError
from tokensvc.log import exception_fields, structlog
from tokensvc.settings import Settings, read_settings

STOP_SECONDS = 24
"""How long workers may take to stop before they are killed; the whole shutdown then takes less than 25 seconds."""

_RESTART_MIN_SECONDS, _RESTART_MAX_SECONDS = 0.5, 10.0
_STABLE_SECONDS = 60.0
_KEEP_METRICS_SECONDS = 3600.0
"""How often the files of metrics are marked as used. Systems delete temporary files that were not used for days."""
_METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Must be set before prometheus_client is imported, which reads it once; therefore the name is not imported from
`container/prometheus.py`."""
_IGNORED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)

if TYPE_CHECKING:
    from tokensvc.container.log_level import LogLevelReloader

_log = structlog.get_logger(__name__)


def serve_from_env(environ: Mapping[str, str]) -> int:
    """Read the TOKENSVC_… variables and serve until stopped. Returns the exit code. Raises SettingsError."""
    from tokensvc.container.logs import configure

    settings = read_settings(environ)
    configure(settings.log_format, settings.log_level)
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
        return _supervise(settings, sockets, _SharedMetrics(directory, lock))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def ignore_signals(*, sighup_stops: bool = False) -> None:
    """Ignore the signals that are not meant to stop the process. With `sighup_stops`, SIGHUP stops it gracefully,
    unless it was started to outlive its terminal (nohup). Call it in the main thread."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in (signal.SIGHUP, *_IGNORED_SIGNALS):
        signal.signal(number, _log_once)
    if sighup_stops and not outlives_terminal:
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGINT))


def _reload_on_sighup(reloader: LogLevelReloader) -> None:
    """Read the log's level again on SIGHUP, from now on."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: reloader.request())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])


def _log_once(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    _log.info("signal ignored", signal=signal.Signals(number).name)


def bind_listeners(settings: Settings) -> list[socket.socket]:
    """Bind the public listener and, if its port is set, the admin listener. Raises SettingsError."""
    if settings.admin_port is None:
        _check_that_nothing_needs_an_admin_port(settings)
    listeners = [bind_listener("TOKENSVC_PORT", settings.host, settings.port)]
    try:
        listeners += _bind_admin(settings)
        if len({listener.getsockname()[1] for listener in listeners}) < len(listeners):
            # possible on different addresses; the application tells its listeners apart by their ports
            raise SettingsError([FieldError("TOKENSVC_ADMIN_PORT", "must differ from TOKENSVC_PORT")])
    except SettingsError:
        _close(listeners)
        raise
    return listeners


def _check_that_nothing_needs_an_admin_port(settings: Settings) -> None:
    """Without an admin port, the public listener serves the admin routes: nobody means that who sets these."""
    meant = {
        "TOKENSVC_ADMIN_HOST": settings.admin_host != "127.0.0.1",
        "TOKENSVC_ADMIN_ROUTES": settings.admin_routes is False,
    }
    rule = "needs TOKENSVC_ADMIN_PORT: without it, the public listener serves the admin routes"
    if errors := [FieldError(name, rule) for name, is_set in meant.items() if is_set]:
        raise SettingsError(errors)


def _close(listeners: Sequence[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def _bind_admin(settings: Settings) -> list[socket.socket]:
    if settings.admin_port is None:
        return []
    return [bind_listener("TOKENSVC_ADMIN_PORT", settings.admin_host, settings.admin_port)]


def serves_admin_routes(settings: Settings, listener: socket.socket) -> bool:
    """Whether this admin listener has more than metrics and probes: what the setting says, else whether only this
    machine reaches it. The bound address decides, since a host name may resolve to any."""
    if settings.admin_routes is not None:
        return settings.admin_routes
    address = ipaddress.ip_address(listener.getsockname()[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def run_background(
    settings: Settings, *, rotation_lease_seconds: float | None = None, dispatch_lease_seconds: float | None = None
) -> int:
    """Run the background tasks until stopped, with a listener only if an admin port is set. Returns the exit code."""
    from tokensvc.container.application import build_worker_application
    from tokensvc.container.keys_context import ROTATION_LEASE_SECONDS
    from tokensvc.container.log_level import LogLevelReloader
    from tokensvc.container.service import assemble_worker
    from tokensvc.revocations.leader import LEASE_SECONDS
    from tokensvc.web.server import make_server

    ignore_signals()
    _reload_on_sighup(LogLevelReloader(settings.log_level))
    service = assemble_worker(
        settings,
        rotation_lease_seconds=rotation_lease_seconds or ROTATION_LEASE_SECONDS,
        dispatch_lease_seconds=dispatch_lease_seconds or LEASE_SECONDS,
    )
    try:
        sockets = _bind_admin(settings)
        is_described = all(serves_admin_routes(settings, listener) for listener in sockets)
        server = make_server(
            build_worker_application(service, is_described=is_described),
            lambda: None,
            delay_seconds=0,
            max_connections=settings.max_connections,
        )
        admin_host, admin_port = sockets[0].getsockname()[:2] if sockets else (None, None)
        _log.info("running background tasks", admin_host=admin_host, admin_port=admin_port)
        server.run(sockets)
    finally:
        service.store.close()
    return 0


def run_worker(settings: Settings, sockets: Sequence[socket.socket], *, checked: bool = False, number: int = 0) -> None:
    """Run one worker in this process, whose log is configured, until stopped. `checked`: the parent has checked that
    it can start. `number` is its number among the workers of this machine."""
    from tokensvc.container.application import build_application
    from tokensvc.container.log_level import LogLevelReloader
    from tokensvc.container.service import assemble
    from tokensvc.web.server import make_server

    ignore_signals()
    _reload_on_sighup(LogLevelReloader(settings.log_level))
    service = assemble(settings, checked=checked, number=number)
    admin_host, admin_port = sockets[1].getsockname()[:2] if len(sockets) > 1 else (None, None)
    application = build_application(
        service,
        admin_port=admin_port,
        serves_admin_routes=all(serves_admin_routes(settings, listener) for listener in sockets[1:]),
    )
    server = make_server(
        application.asgi,
        application.readiness.drain,
        delay_seconds=settings.shutdown_delay_seconds,
        trusted_proxies=settings.trusted_proxies,
        max_connections=settings.max_connections,
    )
    service.metrics.sample_with(lambda: service.metrics.http_connections(len(server.server_state.connections)))
    host, port = sockets[0].getsockname()[:2]
    _log.info(
        "serving",
        host=host,
        port=port,
        admin_host=admin_host,
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
    try:
        return _listening_socket(host, port)
    except (OSError, TypeError) as error:  # TypeError: the name cannot be encoded
        reason = error.strerror if isinstance(error, OSError) else "not a valid address or host name"
        if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or error.errno in _HOST_ERRORS:
            port_name = port_name.replace("PORT", "HOST").replace("port", "host")
        raise SettingsError([FieldError(port_name, f"cannot listen on {host}:{port}: {reason}")]) from None


def _listening_socket(host: str, port: int) -> socket.socket:
    """Raises OSError at any step: a kernel without IPv6 makes no such socket, and of two processes that have bound the
    same port only one can listen."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.set_inheritable(True)
    except BaseException:
        listener.close()
        raise
    return listener


def _supervise(settings: Settings, sockets: Sequence[socket.socket], metrics: _SharedMetrics) -> int:
    from tokensvc.container.log_level import LogLevelReloader

    stopping, reloaded = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    reloader = LogLevelReloader(settings.log_level, on_read=lambda _level: reloaded.set())
    _reload_on_sighup(reloader)

    def start_worker(position: int) -> BaseProcess:
        return _start_worker(settings.model_copy(update={"log_level": reloader.level}), sockets, position)

    workers = _Workers(settings.workers, start_worker, stopping, metrics)
    try:
        workers.start()
        while not stopping.is_set():
            workers.wait_for_an_end(0.2)
            if reloaded.is_set():
                reloaded.clear()
                workers.send(signal.SIGHUP)
            workers.restart_ended()
            metrics.keep_if_due()
    finally:
        exit_code = workers.stop()
    return exit_code


class _Workers:
    """The worker processes by their numbers. One that could not be started is None."""

    def __init__(
        self,
        count: int,
        start: Callable[[int], BaseProcess],
        stopping: threading.Event,
        metrics: _SharedMetrics,
    ) -> None:
        self._start_process = start
        self._stopping = stopping
        self._metrics = metrics
        self._processes: list[BaseProcess | None] = [None] * count
        self._started_at = [time.monotonic()] * count
        self._pause = 0.0

    def start(self) -> None:
        for number in range(len(self._processes)):
            self._start(number)

    def wait_for_an_end(self, seconds: float) -> None:
        """Wait until a worker has ended, for a time at most."""
        multiprocessing.connection.wait([process.sentinel for process in self._started()], timeout=seconds)

    def send(self, number: int) -> None:
        """Send every worker a signal."""
        for process in self._started():
            if process.is_alive() and process.pid is not None:  # so its id belongs to no other process yet
                os.kill(process.pid, number)

    def restart_ended(self) -> None:
        """Start those that do not run, each after its delay, unless the service is being stopped."""
        for number, process in enumerate(self._processes):
            if self._stopping.is_set() or (process is not None and process.is_alive()):
                continue
            if process is not None:
                _log.error("worker exited and will be restarted", pid=process.pid, exit_code=process.exitcode)
                self._metrics.forget(process)
            self._pause = restart_delay(self._pause, time.monotonic() - self._started_at[number])
            if not self._stopping.wait(self._pause):
                self._start(number)

    def stop(self) -> int:
        """Returns the exit code of the service."""
        return _stop_workers(self._started())

    def _started(self) -> list[BaseProcess]:
        return [process for process in self._processes if process is not None]

    def _start(self, number: int) -> None:
        self._processes[number], self._started_at[number] = None, time.monotonic()
        try:
            self._processes[number] = self._start_process(number)
        except Exception as error:  # noqa: BLE001 - the other workers must stay supervised
            error_number = error.errno if isinstance(error, OSError) else None
            _log.error("worker not started", errno=error_number, **exception_fields(error))


def restart_delay(previous_seconds: float, lifetime_seconds: float) -> float:
    """Seconds to wait before a worker is restarted: increasing while workers exit early, short after a stable one."""
    if lifetime_seconds > _STABLE_SECONDS:
        return _RESTART_MIN_SECONDS
    return min(max(previous_seconds * 2, _RESTART_MIN_SECONDS), _RESTART_MAX_SECONDS)


def _start_worker(settings: Settings, sockets: Sequence[socket.socket], number: int) -> BaseProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_worker_main, args=(settings, list(sockets), number))
    with _signals_held_back():
        worker.start()
    return worker


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Make processes that are started meanwhile ignore the ignored signals from the beginning, and leave SIGHUP pending
    until they unblock it: exec resets handlers, but neither ignored signals nor the mask."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED_SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _worker_main(settings: Settings, sockets: Sequence[socket.socket], number: int) -> None:
    """The main function of a worker process."""
    from tokensvc.container.logs import configure

    configure(settings.log_format, settings.log_level)
    directory = Path(os.environ[_METRICS_DIRECTORY])
    threading.Thread(target=_stop_with_parent, name="parent-watch", daemon=True).start()
    lock = _lock_metrics(directory)
    try:
        run_worker(settings, sockets, checked=True, number=number)
    except TokensvcError as failure:
        _log.error("worker cannot start", code=failure.code, error=failure.operator_message)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - multiprocessing would print it, with its message
        _log.critical("worker failed", **exception_fields(error))
        sys.exit(1)
    finally:
        if lock is not None:
            os.close(lock)
        metrics_directory.remove_if_unused(directory)  # if the parent was killed, the last worker removes it


def _lock_metrics(directory: Path) -> int | None:
    """Lock the directory of the metrics. If that is impossible, the worker serves without sharing its metrics; only if
    the parent has exited, and the directory was therefore removed, the worker exits too."""
    try:
        return metrics_directory.lock(directory)
    except OSError as error:
        parent = multiprocessing.parent_process()
        if parent is None or not parent.is_alive():
            sys.exit(1)
        _log_unusable_directory(error)
        del os.environ[_METRICS_DIRECTORY]
        return None


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


class _SharedMetrics:
    """The metrics of the workers, as their parent looks after them. Failures are logged, and then ignored."""

    def __init__(self, directory: Path, lock: int) -> None:
        self._directory = directory
        self._lock = lock
        self._kept_at = time.monotonic()

    def keep_if_due(self) -> None:
        """Keep the directory from being deleted as unused."""
        if time.monotonic() >= self._kept_at + _KEEP_METRICS_SECONDS:
            self._keep()

    def forget(self, worker: BaseProcess) -> None:
        """Stop exporting the gauges of a worker that has exited. Then its successor can use the directory, also if it
        was deleted."""
        self._keep()
        try:
            from tokensvc.container.worker_files import forget_process

            forget_process(self._directory, worker.pid)
        except Exception as error:  # noqa: BLE001 - the successor matters more
            _log_unusable_directory(error)

    def _keep(self) -> None:
        self._kept_at = time.monotonic()
        try:
            metrics_directory.keep(self._directory, self._lock)
        except OSError as error:
            _log_unusable_directory(error)


def _log_unusable_directory(error: Exception) -> None:
    _log.warning("metrics directory cannot be used", **exception_fields(error))
