"""Processes that share out work, by Dask: on this machine or on many. The only place that imports it.

One process, one thread of TFLite and of the BLAS a worker: there are many pieces of work to share out.
"""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from distributed.comm import CommClosedError

from agent.errors import LastlayerError, ServiceError

__all__ = ["Client", "KilledWorker", "WorkerPlugin", "connected", "get_worker", "in_our_words"]

CONNECT_S = 30.0
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
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised, and said in our words
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        try:
            if scheduler is None:
                local = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    dashboard_address=None,
                    # Its HTTP server runs all the same: not on a port that another run holds, nor for others to see.
                    scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                    silence_logs=logging.CRITICAL,
                )
                client = Client(stack.enter_context(local))
            else:
                client = Client(scheduler, timeout=CONNECT_S)
            stack.enter_context(client)
            client.wait_for_workers(1, timeout=CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            where = scheduler or "this machine"
            raise ServiceError(
                f"{where} has no workers for us: {error}; start some, or leave --scheduler out"
            ) from error
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
