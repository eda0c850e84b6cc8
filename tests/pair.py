"""A pair of processes that train together, gloo between them, for all tests that need two.

Run as a program this file is one of the two: it waits for jobs, does them, and answers. A job is a
function at the top of a test file, done in both at once with the same arguments. If it raises in
one, that one leaves their group, so that the other does not wait for ever, and they form a new one
for the next job. If it waits all the same, as where something trained holds on to the group, both
are started anew.
"""

import gc
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

COUNT = 2
PATIENCE = 120.0  # seconds in which a job must be done: only a pair that hangs takes so long
GRACE = 5.0  # seconds for a process to find out that the other has failed


class JobError(Exception):
    """A job raised in one of the processes; the text is the traceback there."""


class Pair:
    """Two processes, started once.

    `ask(function, *arguments)` does a job in both and gives both answers, the first process's
    first. Arguments and answers travel by `torch.save`.
    """

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="pair")
        self._groups = 0
        self._start()

    def _start(self) -> None:
        address = f"{self._home.name}/socket{self._groups}"
        with Listener(address, "AF_UNIX") as listener:
            words = [sys.executable, "-W", "error", __file__, address]
            mine = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            self._processes = [
                subprocess.Popen([*words, str(rank)], env=os.environ | mine)
                for rank in range(COUNT)
            ]
            calls = [listener.accept() for _ in range(COUNT)]
        ranked = {call.recv(): call for call in calls}
        self._calls: list[Connection] = [ranked[rank] for rank in range(COUNT)]

    def ask(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Do a job in both processes: -> their answers.

        Raises:
            JobError: If it raised in either: the first to raise is told, and not those that only
                lost it.
        """
        group = f"{self._home.name}/group{self._groups}"
        job = (function.__code__.co_filename, function.__qualname__, group, arguments)
        for call in self._calls:
            call.send_bytes(_packed(job))
        answers = self._answers()
        faults = [(when, text) for done, when, text in answers.values() if not done]
        if faults or len(answers) < COUNT:
            self._groups += 1  # the next job finds no group of that number, and forms it
            if len(answers) < COUNT:  # one has ended, or waits for the other for ever
                self._kill()
                self._start()
            raise JobError(min(faults)[1] if faults else "a process of the pair ended or hung")
        return [answers[rank][2] for rank in range(COUNT)]

    def _answers(self) -> dict[int, tuple[bool, float, Any]]:
        """Receive what the processes answer, by rank; nothing of one that ends or hangs."""
        answers: dict[int, tuple[bool, float, Any]] = {}
        patience = PATIENCE
        while waiting := [c for rank, c in enumerate(self._calls) if rank not in answers]:
            ready = wait(waiting, patience)
            if not ready:
                break
            for call in waiting:
                if call in ready:
                    try:
                        answer = _unpacked(call.recv_bytes())
                    except EOFError:
                        return answers
                    answers[self._calls.index(call)] = answer
                    patience = patience if answer[0] else GRACE
        return answers

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for call in self._calls:
            call.close()

    def close(self) -> None:
        """End both processes."""
        for call in self._calls:
            call.close()
        for process in self._processes:
            process.wait(PATIENCE)
        self._home.cleanup()


def _packed(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _unpacked(packed: bytes) -> Any:
    return torch.load(io.BytesIO(packed), weights_only=False)


class Worker:
    """One process of the pair.

    Args:
        rank: Its number.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._group = ""  # the file at which it was formed
        self._known: dict[str, types.ModuleType] = {}

    def work(self, address: str) -> None:
        """Do jobs until there are no more."""
        with Client(address) as call:
            call.send(self.rank)
            while True:
                try:
                    job = _unpacked(call.recv_bytes())
                except EOFError:
                    break
                call.send_bytes(_packed(self._done(*job)))
        self._leave()

    def _done(
        self, path: str, name: str, group: str, arguments: tuple[Any, ...]
    ) -> tuple[bool, float, Any]:
        """Do a job: -> whether it was done; if not, when; its answer or the traceback."""
        try:
            self._join(group)
            return True, 0.0, getattr(self._loaded(path), name)(*arguments)
        except Exception:
            when = time.monotonic()
            fault = f"in process {self.rank}:\n{traceback.format_exc()}"
        self._leave()  # who waits for this process is told by the broken line
        return False, when, fault

    def _join(self, group: str) -> None:
        if group != self._group:
            self._leave()
            where = f"file://{group}"
            dist.init_process_group("gloo", init_method=where, rank=self.rank, world_size=COUNT)
            self._group = group

    def _leave(self) -> None:
        gc.collect()  # a trained task that has not gone yet would keep the line open
        if dist.is_initialized():
            dist.destroy_process_group()

    def _loaded(self, path: str) -> types.ModuleType:
        """Load a test file as a module, once."""
        if path not in self._known:
            name = f"jobs_of_{Path(path).stem}"
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = self._known[path] = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return self._known[path]


def main(address: str, rank: int) -> None:
    """Be a process of the pair."""
    # As torchrun tells its processes, for those who ask the environment.
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": COUNT, "LOCAL_WORLD_SIZE": COUNT}
    told |= {"GROUP_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    os.environ.update({name: str(value) for name, value in told.items()})
    torch.set_num_threads(1)
    Worker(rank).work(address)
    os._exit(0)  # nothing is left to be done; to take the libraries down would cost seconds


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
