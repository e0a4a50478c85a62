"""Ray for as long as a piece of work takes: started on this machine, or a running cluster joined by its address.

A Ray that is started here listens on the loopback interface alone, asks for a token that is drawn for the process,
has no dashboard and reports nothing to anyone. It ends with the work, however that ends.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import secrets
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from memeblend.errors import ClusterError, MissingExtraError

INSTALL = 'Install the extra: pip install "memeblend[ray]"'
_STORE_BYTES = 256 * 2**20
"""Of the object store of a Ray that is started here. Memes travel as files, so little lies in it."""
_ANSWER_SECONDS = 5.0
_LONGEST_FOLDER = 25
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are kept as our own files
    "RAY_AIR_NEW_OUTPUT": "0",  # Ray Tune's newer one writes on standard output though it is told to be silent
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the command and with it the session
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "OMP_WAIT_POLICY": "passive",
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""The name tells of other systems; on any, 0 makes a node's own address the loopback one, and its servers bind to
that."""


def has_ray() -> bool:
    """Whether the extra `ray` is installed."""
    return importlib.util.find_spec("ray") is not None


def need_ray(why: str) -> None:
    """Refuse work that needs Ray where it is not installed.

    Args:
        why: what needs it, as the beginning of a sentence ("Two workers").

    Raises:
        MissingExtraError: it is not installed.
    """
    if not has_ray():
        raise MissingExtraError(f"{why} need the package ray, which is not installed.", fix=INSTALL)


@contextmanager
def ray_session(num_workers: int, address: str = "") -> Iterator[None]:
    """Ray within the block. One that the caller has already initialised is used and left as it is.

    Args:
        num_workers: processes that work at a time; a Ray that is started here has so many CPUs to give.
        address: a running cluster: "auto" (one on this machine), "HOST:PORT", or "ray://HOST:PORT" (its client
            server). "" starts Ray here.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: no cluster answers at the address, or Ray could not be started.
    """
    need_ray("Several workers and clusters")
    with _environment(_QUIET | ({} if address else _LOOPBACK | _token())):
        import ray

        if ray.is_initialized():
            yield
            return
        _read_environment_anew()
        folder = None
        internals = _private_worker()
        told, internals._worker_logs_enabled = getattr(internals, "_worker_logs_enabled", True), False
        try:
            if address:
                _join(address)
            else:
                # A socket's whole path may have 107 characters, and Ray adds 70.
                short = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"
                folder = tempfile.mkdtemp(prefix="mb", dir=short)
                _start(num_workers, folder)
            yield
        finally:
            ray.shutdown()
            internals._worker_logs_enabled = told
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def check_room(num_workers: int) -> None:
    """Refuse to wait for machines that may never join, which Ray would do without end; within a session.

    Args:
        num_workers: processes that need a CPU each at the same time.

    Raises:
        ClusterError: the cluster has fewer.
    """
    import ray

    cores = int(ray.cluster_resources().get("CPU", 0))
    if cores < num_workers:
        raise ClusterError(
            f"The cluster has {cores} CPU core(s) for {num_workers} worker(s), which need one each.",
            fix="Ask for fewer workers, or have its machines join before.",
        )


def _private_worker() -> Any:
    """Where Ray says whether it writes about dead workers, on standard output, where results belong; `log_to_driver`
    has no say in that."""
    return importlib.import_module("ray._private.worker")


def _read_environment_anew() -> None:
    """Ray reads how to authenticate once, when it is imported, which may have been long ago."""
    with suppress(ImportError, AttributeError):  # not of its public interface
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


@cache
def _token() -> dict[str, str]:
    """Loopback is open to every user of the machine, so who joins must know a secret that only this process knows."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables, which Ray's processes inherit; what the user has set stays."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if name in _LOOPBACK or before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(num_workers: int, folder: str) -> None:
    import ray

    with _loopback_only():
        try:
            ray.init(
                address="local",  # whatever RAY_ADDRESS says
                num_cpus=num_workers,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                _temp_dir=folder,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises that itself, where the machine is too busy to start it in time
            raise ClusterError(
                f"Ray could not be started on this machine: {error}", fix="Try again, or work without --num-workers."
            ) from error


@contextmanager
def _loopback_only() -> Iterator[None]:
    """The same as `_LOOPBACK` for this process, where Ray may have read its environment long ago."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _join(address: str) -> None:
    import ray

    fix = (
        "Name a running cluster: auto (one on this machine), HOST:PORT or ray://HOST:PORT. One that asks for a token "
        "takes it from RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
    )
    if address != "auto":
        _check_answers(address, fix)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what becomes an error below
            ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        reason = str(error).strip().rstrip(".").splitlines()[0] if str(error).strip() else type(error).__name__
        where = (
            "No cluster was found on this machine" if address == "auto" else f"No Ray cluster answers at '{address}'"
        )
        raise ClusterError(f"{where}: {reason}.", fix=fix) from error


def _check_answers(address: str, fix: str) -> None:
    """Ray itself would wait for minutes, and end the process then."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port or (10001 if parts.scheme == "ray" else None)
    except ValueError:
        host = port = None
    if not host or port is None or (parts.scheme and parts.scheme != "ray"):
        raise ClusterError(f"'{address}' is not the address of a Ray cluster.", fix=fix)
    try:
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"Nothing answers at '{address}' within {_ANSWER_SECONDS:.0f} seconds: {error.strerror or error}.", fix=fix
        ) from error
