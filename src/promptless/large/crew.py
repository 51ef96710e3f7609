"""Who does the work: this process, processes beside it, or a Dask cluster; all take the same steps on the same files.

What travels is the number of a tile and how long it took. Pixels are read from the image and written to the store
by whoever has the tile.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from promptless.errors import reason
from promptless.large.ahead import working_ahead
from promptless.large.bench import STEPS, Bench, opened
from promptless.large.plan import PLAN, Plan
from promptless.large.runs import FATAL
from promptless.loading import load
from promptless.record import Steps
from promptless.registry import model_hash

if TYPE_CHECKING:
    import distributed
    from distributed import Client, LocalCluster

log = logging.getLogger(__name__)

HANDS = 2
"""Tiles that are under way at once in this process; of two, one has the network most of the time."""
TRIES = 2
"""How often a tile is tried before it is given up."""
SUSPECT = 20
"""How many workers may die over a batch of tiles before the batch is doubted and taken apart."""
AHEAD = 3
"""Batches per worker that are under way at once, so that the graph stays small."""
LOST = "the scheduler was lost; what is finished is kept, --resume goes on"
PAUSE = 1.0
"""Seconds between two looks at how many workers there are."""
RECRUIT = 3.0
"""Seconds between two looks at which local workers were given up."""
BATCH = 8
"""Tiles per task, at most."""
LOCAL = {
    "distributed.scheduler.allowed-failures": SUSPECT,
    "distributed.admin.tick.limit": "1h",
    # else a worker gives memory back after every array, and asks for it again with the next one
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # what is kept lies in two heaps, and not in one for each thread that ever asked
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 2,
}
"""How Dask is set up where the workers are ours."""


@dataclass(frozen=True)
class Outcome:
    """What became of a tile or block: seconds by step, or why it failed."""

    number: int
    seconds: dict[str, float]
    error: str = ""


class Crew(Protocol):
    """Whoever takes steps."""

    def each(self, step: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Take a step for each number, in any order, and yield what became of it."""

    def ahead(self, steps: Steps) -> AbstractContextManager[Callable[[int], None]]:
        """Do what can be done of the next steps while tiles are found; yield what is told of each that is."""


@dataclass(frozen=True)
class Here:
    """Nobody but this process: while the network looks at one tile, another is read, assembled or measured."""

    bench: Bench

    def each(self, step: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Take a step for each number."""
        with ThreadPoolExecutor(HANDS) as pool:
            running: deque[Future[Outcome]] = deque()
            try:
                for number in numbers:
                    running.append(pool.submit(attempted, self.bench, step, number))
                    if len(running) > HANDS:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def ahead(self, steps: Steps) -> AbstractContextManager[Callable[[int], None]]:
        """Settle and tell tiles whose surroundings are known: finding leaves a part of the second core free."""
        return working_ahead(self.bench, steps)


@dataclass(frozen=True)
class Cluster:
    """The workers of a Dask cluster, each with an image and a model of its own."""

    client: Client
    parts: Path
    threads: int
    run: str  # what tells this run from others that the workers may have seen

    def each(self, step: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Take a step for each number, a batch per task, few tasks at a time.

        A batch that is lost, for its workers die over it, is taken apart; a number that is lost alone has failed.
        """
        from distributed import as_completed

        waiting = batches(numbers, self.n_workers())
        running: dict[Any, list[int]] = {}
        completed = as_completed()
        at_once, counted = 0, -math.inf
        while waiting or running:
            if time.monotonic() - counted > PAUSE:
                at_once, counted = AHEAD * self.n_workers(), time.monotonic()
            while waiting and len(running) < at_once:
                batch = waiting.pop()
                future = self.submitted(step, batch)
                running[future.key] = batch
                completed.add(future)
            future = next(completed)
            batch = running.pop(future.key)
            if future.status == "finished":
                yield from future.result()
            elif future.status == "cancelled":
                raise ConnectionError(LOST)
            elif isinstance(future.exception(), OSError) and future.exception().errno in FATAL:
                raise future.exception()
            elif len(batch) == 1:
                yield Outcome(batch[0], {}, f"lost with its worker ({reason(future.exception())})")
            else:
                waiting += [[number] for number in batch]
            future.release()

    def ahead(self, steps: Steps) -> AbstractContextManager[Callable[[int], None]]:
        """Do nothing ahead: workers have no part of a core free."""
        return nullcontext(lambda number: None)

    def submitted(self, step: str, batch: list[int]) -> distributed.Future:
        """Hand a batch over."""
        self.check()
        return self.client.submit(work, str(self.parts), self.run, step, batch, self.threads, pure=False)

    def n_workers(self) -> int:
        """Return how many workers there are now, at least one: they may come back."""
        self.check()
        return max(1, len(self.client.scheduler_info(n_workers=-1).get("workers", ())))

    def check(self) -> None:
        """Raise where nobody is there to hand work over to."""
        if self.client.status != "running":
            raise ConnectionError(LOST)


def batches(numbers: Sequence[int], n_workers: int) -> list[list[int]]:
    """Return numbers in batches, the first ones last, small enough that all workers have something to do."""
    size = max(1, min(BATCH, len(numbers) // (4 * n_workers)))
    return [list(numbers[i : i + size]) for i in range(0, len(numbers), size)][::-1]


def work(parts: str, run: str, step: str, numbers: list[int], threads: int) -> list[Outcome]:
    """Take a step for each number, in the process of a worker."""
    bench = bench_of(parts, run, threads)
    return [attempted(bench, step, number) for number in numbers]


@lru_cache(maxsize=1)
def bench_of(parts: str, run: str, threads: int) -> Bench:
    """Open the run called `run` once per process; image and model stay open until the process ends."""
    plan = Plan.read(Path(parts))
    assert plan.request.model is not None  # `crew` asks for a name or folder where others take part
    model = load(plan.request.model, threads=threads)
    if model_hash(model.config) != plan.request.model_hash:
        raise ValueError(f"{plan.request.model} of the worker is another model than that of the run; update promptless")
    bench = opened(Path(parts), model)
    _open.append(bench)
    return bench.__enter__()


_open: list[Any] = []
"""Contexts that are never left, lest what they hold is closed."""


def attempted(bench: Bench, step: str, number: int) -> Outcome:
    """Take a step for a number, again where it fails; say why where it fails every time."""
    for left in reversed(range(TRIES)):
        try:
            return Outcome(number, STEPS[step](bench, number).seconds)
        except OSError as error:
            if error.errno in FATAL:
                raise
            failure: Exception = error
        except Exception as error:  # whatever is wrong with one tile, the others go on
            failure = error
        log.debug("%s %d failed, %d tries left", step, number, left, exc_info=failure)
    return Outcome(number, {}, reason(failure))


@contextmanager
def crew(
    parts: Path, model: Any, workers: int | None, scheduler: str | None, threads: int | None
) -> Iterator[tuple[Crew, Bench]]:
    """Open the run in a folder, and whoever works at it: this process, `workers` local ones, or a cluster."""
    with opened(parts, model) as bench:
        if workers is None and scheduler is None:
            yield Here(bench), bench
            return
        if bench.plan.request.model is None:
            raise ValueError("workers load the model themselves: give its name or folder, not a model")
        shared = parts.resolve()  # workers may run in another folder
        with client(workers, scheduler) as dask:
            seen = dask.run(is_there, str(shared / PLAN))
            blind = [name for name, there in seen.items() if not there]
            if blind:
                raise FileNotFoundError(
                    f"{len(blind)} of {len(seen)} workers do not see {shared}; image and output must lie where all do"
                )
            if not seen:
                log.warning("there are no workers at %s yet; the run begins with the first", scheduler)
            yield Cluster(dask, shared, threads or 1, uuid4().hex), bench


@contextmanager
def client(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Connect to a scheduler, or start one with local processes of one thread each."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(f"--workers and --scheduler need {error.name}: pip install 'promptless[large]'") from error
    if scheduler is not None:
        try:
            found = Client(scheduler)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"there is no scheduler at {scheduler} ({reason(error)}); `dask scheduler` starts one and says where"
            ) from error
        with found as connected:
            yield connected
        return
    with (
        dask.config.set(LOCAL),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as connected,
        staffed(cluster, workers or 1),
    ):
        yield connected


@contextmanager
def staffed(cluster: LocalCluster, n: int) -> Iterator[None]:
    """Start workers again that a cluster has given up, as it does with one that was killed and is slow to come back."""
    from distributed import Status

    over = threading.Event()

    def recruit() -> None:
        for name, worker in list(cluster.workers.items()):
            if worker.status in (Status.closed, Status.failed):
                del cluster.workers[name]
        cluster.scale(n)

    def look() -> None:
        while not over.wait(RECRUIT):
            cluster.loop.add_callback(recruit)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def is_there(path: str) -> bool:
    """Return whether a file can be seen from this process."""
    return Path(path).is_file()
