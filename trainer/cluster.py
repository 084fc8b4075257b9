"""Processes that share out work, by Dask: on this machine or on many. The only place that imports it.

One process, one thread of TFLite and of the BLAS a worker: there are many pieces of work to share out.
"""

import contextlib
import logging
import multiprocessing
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import CancelledError
from multiprocessing.resource_tracker import ensure_running

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from distributed.comm import CommClosedError

from agent.board.interruption import undisturbed
from agent.errors import LastlayerError, ServiceError

__all__ = ["Client", "KilledWorker", "WorkerPlugin", "connected", "deaf_processes", "get_worker", "in_our_words"]

CONNECT_S = 30.0
START_S = 120.0  # of processes here, on a busy machine
_LOGGERS = ("asyncio", "distributed", "distributed.client", "tornado", "tornado.application")  # with a level each
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
_SETTINGS = {
    "distributed.nanny.pre-spawn-environ": _ONE_THREAD,
    # What ends a worker here would end the next one too: whoever asked for it takes a closer look.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.comm.timeouts.connect": f"{CONNECT_S:.0f}s",
}


@contextlib.contextmanager
def connected(workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of the scheduler that is given, or of so many processes here, which end with the `with`.

    Raises ServiceError where the scheduler cannot be reached or has no workers.
    """
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised, and said in our words
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        try:
            client = stack.enter_context(_here(workers) if scheduler is None else _elsewhere(scheduler))
        except (OSError, TimeoutError, ValueError) as error:
            where = scheduler or "this machine"
            raise ServiceError(
                f"{where} has no workers for us: {error}; start some, or leave --scheduler out"
            ) from error
        yield client


@contextlib.contextmanager
def deaf_processes() -> Iterator[None]:
    """Those that are started within the block, or by threads that are, never hear Ctrl-C.

    A terminal sends it to the whole group; one that is starting would answer with a traceback.
    """
    ensure_running()  # multiprocessing's tracker would lift the mask where it starts
    with undisturbed([signal.SIGINT]):
        yield


@contextlib.contextmanager
def _here(workers: int) -> Iterator[Client]:
    """Nothing of it outlives the block, in the file system neither, whenever it is interrupted."""
    with contextlib.ExitStack() as stack:
        try:
            with deaf_processes():  # Dask's thread is born in it, and starts what comes later
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lastlayer-"))
                stack.enter_context(dask.config.set({"temporary-directory": folder}))
                local = LocalCluster(
                    n_workers=0,
                    threads_per_worker=1,
                    dashboard_address=None,
                    # Its HTTP server runs all the same: not on a port that another run holds, nor for others to see.
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                    silence_logs=logging.CRITICAL,
                    env={"TMPDIR": folder},
                )
                client = stack.enter_context(Client(stack.enter_context(local)))
            local.scale(workers)
            client.wait_for_workers(workers, timeout=START_S)
            yield client
        except KeyboardInterrupt:
            _kill(local)
            raise
        finally:
            with undisturbed():
                stack.close()


def _kill(local: LocalCluster) -> None:
    """One that starts hears nothing of an end, and would be waited for some seconds."""
    for nanny in local.workers.values():
        nanny.auto_restart = False
    for process in multiprocessing.active_children():
        process.kill()


@contextlib.contextmanager
def _elsewhere(scheduler: str) -> Iterator[Client]:
    with Client(scheduler, timeout=CONNECT_S) as client:
        client.wait_for_workers(1, timeout=CONNECT_S)
        yield client


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Errors of Dask become ServiceError; our own, from wherever they come, stay as they are."""
    try:
        yield
    except (LastlayerError, KeyboardInterrupt, GeneratorExit):
        raise
    except (CommClosedError, CancelledError, TimeoutError, ConnectionError) as error:
        raise ServiceError("the scheduler went away: run the same command again") from error
    except Exception as error:
        raise ServiceError(f"a worker failed: {type(error).__name__}: {error}") from error
