"""A crew: the workers of one call. It sends tasks, takes results in order, and goes on when a worker dies."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import TimeoutError as Waited
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from rbm.errors import ModelError, WorkersLost
from rbm.online.threads import alone
from rbm.workers.engines import check_workers, is_local, kind_of, replacement, worker_count
from rbm.workers.parcels import Parcel, bytes_of, opened, packed, parcel, removed, unpacked

__all__ = ["Crew", "Round", "crew_of"]

Work = Callable[..., Any]  #: work(what, *arguments) -> answer
#: Seconds after which a wait for a Dask cluster looks whether it still has workers.
LOOK = 10.0


class Crew:
    """The workers of an executor, to whom one thing, a model, has been or will be sent.

    executor : None (all is done here, in turn), or anything with the interface of concurrent.futures
    what : the model; each process gets it once, by a file in a private folder, and keeps it
        (:mod:`rbm.workers.parcels`); threads share it

    The folder is a temporary one, or inside RBM_SHARED_FOLDER, which all machines of a cluster must see; it goes with
    the crew. Each task uses one thread of its worker, also for matrix products, so that its answer does not depend on
    who works for it, nor on how many there are. Use it as a context: ``with Crew(executor, model) as crew``.

    Raises ModelError for what is no executor, and one that has no workers.
    """

    def __init__(self, executor: Any, what: Any) -> None:
        self.kind = kind_of(executor)
        self.executor, self.what = executor, what
        check_workers(executor)
        self._address: Parcel | None = None
        self._data: Any = None  # what the engine brings to each worker in place of a file
        self._folder: str | None = None
        self._rebuilt = False
        self._stack = ExitStack()

    @property
    def elsewhere(self) -> bool:
        """True if others do the work: not this thread, in turn."""
        return self.kind != "here"

    @property
    def count(self) -> int:
        """The number of workers; one without an executor."""
        return worker_count(self.executor) if self.elsewhere else 1

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._address = self._folder = self._data = None

    def run(self, work: Work, tasks: Iterable[tuple[Any, ...]], window: int | None = None) -> Round:
        """Return what yields work(what, *arguments) for each of the tasks, in their order.

        work : a function that workers find by its name
        window : how many tasks are under way at most: memory is bounded by their answers. All of them by default
        """
        return Round(self, work, tasks, window)

    def submit(self, work: Work, arguments: Any) -> Future[Any]:
        """Send one task, whose arguments are packed; raise ModelError if the executor does not take it."""
        if self.kind == "threads":
            call: tuple[Any, ...] = (_among_threads, self.what, work, arguments)
        else:
            address = self.address
            # a name of its own, since Dask does the same task only once
            call = (_among_processes, address, self._data, self._beside, work, arguments, uuid.uuid4().hex)
        try:
            return self.executor.submit(*call)
        except BrokenExecutor:
            raise
        except RuntimeError as error:
            raise WorkersLost(f"the executor takes no tasks ({error}): it was shut down") from error

    @property
    def address(self) -> Parcel:
        """Where the model is, for processes; it is written at the first use."""
        if self._address is None:
            data = bytes_of(self.what, functions_travel=self.kind in ("loky", "dask", "other"))
            shared = os.environ.get("RBM_SHARED_FOLDER")
            if self.kind == "dask" and not shared and not is_local(self.executor):
                self._address = parcel(data, None)
                # a task, which is done again where a worker was lost that had its result
                name = f"rbm-model-{self._address.key}"
                self._data = self.executor._client.submit(_same, data, key=name)
            else:
                self._address = parcel(data, self.folder)
        return self._address

    @property
    def folder(self) -> str:
        """A private folder (0700) for what travels."""
        if self._folder is None:
            shared = os.environ.get("RBM_SHARED_FOLDER")
            if shared and not Path(shared).is_dir():
                raise ModelError(f"RBM_SHARED_FOLDER is {shared!r}, which is no folder")
            try:
                self._folder = tempfile.mkdtemp(prefix="rbm-workers-", dir=shared or None)
            except OSError as error:
                raise ModelError(
                    f"no folder for what workers are sent can be made in {shared or tempfile.gettempdir()} "
                    f"({error.strerror}): set RBM_SHARED_FOLDER to a folder that can be written to"
                ) from error
            self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    @property
    def _beside(self) -> str | None:
        """Where large arrays go, between processes of this machine; None if the engine sends them."""
        return self.folder if is_local(self.executor) else None

    def pack(self, arguments: tuple[Any, ...]) -> Any:
        """Return the arguments of a task as they travel."""
        return arguments if self.kind == "threads" else packed(arguments, self._beside)

    def rebuild(self, error: BaseException) -> None:
        """Put a new pool in the place of one that is broken, once in the life of a crew.

        Raises WorkersLost the second time, and where it is not known how the pool was made.
        """
        found = None if self._rebuilt else replacement(self.executor)
        if found is None:
            again = "once more, in a pool that was rebuilt already" if self._rebuilt else "and the pool is not known"
            raise WorkersLost(
                f"a worker has died ({type(error).__name__}: {error}) {again}; perhaps its memory did not suffice: try "
                "fewer workers"
            ) from error
        self._rebuilt, self.executor = True, found
        if self.kind == "processes":
            self._stack.callback(found.shutdown, wait=False, cancel_futures=True)


def crew_of(executor: Any, what: Any) -> AbstractContextManager[Crew]:
    """Return the crew of an executor as a context; a crew that is given stays with who made it."""
    return nullcontext(executor) if isinstance(executor, Crew) else Crew(executor, what)


class _Sent:
    """A task that is under way."""

    def __init__(self, number: int, message: Any, future: Future[Any]) -> None:
        self.number, self.message, self.future = number, message, future

    @property
    def done(self) -> bool:
        """True if its answer is here."""
        future = self.future
        return future.done() and not (future.cancelled() or future.exception())


class Round:
    """The answers to the tasks of one call, in their order.

    What is not finished is cancelled at the end, at an error, and at Ctrl-C; `finished` then has what came before.
    """

    def __init__(self, crew: Crew, work: Work, tasks: Iterable[tuple[Any, ...]], window: int | None) -> None:
        self.crew, self.work, self.window = crew, work, window
        self._tasks = enumerate(tasks)
        self._sent: deque[_Sent] = deque()

    def __iter__(self) -> Iterator[Any]:
        crew, work = self.crew, self.work
        if crew.kind == "here":
            yield from (work(crew.what, *arguments) for _, arguments in self._tasks)
            return
        if crew.kind == "map":
            yield from crew.executor.map(partial(_mapped, work, crew.what), (a for _, a in self._tasks))
            return
        try:
            while self._send():
                first = self._sent[0]
                try:
                    answer = self._answer(first)
                except BrokenExecutor as error:
                    self._replace(error)
                    continue
                self._sent.popleft()
                removed(first.message)
                yield answer
        finally:
            for sent in self._sent:
                sent.future.cancel()

    def _send(self) -> bool:
        """Submit what the window has room for; return False when nothing is under way."""
        while self.window is None or len(self._sent) < self.window:
            task = next(self._tasks, None)
            if task is None:
                break
            message = self.crew.pack(task[1])
            try:
                future = self.crew.submit(self.work, message)
            except BrokenExecutor as error:
                self._replace(error)
                future = self.crew.submit(self.work, message)
            self._sent.append(_Sent(task[0], message, future))
        return bool(self._sent)

    def _answer(self, sent: _Sent) -> Any:
        """Wait for one answer."""
        crew = self.crew
        while True:
            try:
                message = sent.future.result(LOOK if crew.kind == "dask" else None)
                break
            except Waited:
                if sent.future.done():  # the task itself has raised it
                    raise
                check_workers(crew.executor)
            except CancelledError as error:
                raise WorkersLost("the executor was shut down while its workers had tasks") from error
            except Exception as error:
                if type(error).__name__ == "KilledWorker":  # of Dask, after its own attempts
                    raise WorkersLost(f"a worker has died ({error}): perhaps its memory did not suffice") from error
                raise
        answer = unpacked(message)
        removed(message)
        return answer

    def _replace(self, error: BaseException) -> None:
        """Submit what is unfinished to a new pool."""
        self.crew.rebuild(error)
        for sent in self._sent:
            if not sent.done:
                sent.future = self.crew.submit(self.work, sent.message)

    def finished(self) -> Iterator[tuple[int, Any]]:
        """Yield the number and the answer of each task that is done and has not been taken, in order or not."""
        for sent in self._sent:
            if sent.done:
                with suppress(OSError):
                    yield sent.number, unpacked(sent.future.result())


def _among_threads(what: Any, work: Work, arguments: tuple[Any, ...]) -> Any:
    """Do one task in a thread of this process."""
    with alone():
        return work(what, *arguments)


def _among_processes(
    address: Parcel, data: bytes | None, beside: str | None, work: Work, arguments: Any, name: str
) -> Any:
    """Do one task in the process of a worker."""
    what = opened(address, data)
    with alone():
        return packed(work(what, *unpacked(arguments)), beside)


def _mapped(work: Work, what: Any, arguments: tuple[Any, ...]) -> Any:
    return work(what, *arguments)


def _same(data: bytes) -> bytes:
    return data
