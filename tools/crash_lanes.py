"""Runs of the crash test side by side, each in a process of its own, and what the screen says meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, TextIO

from zkstore.errors import ConfigError
from zkstore.testing.nemesis import keeping
from zkstore.testing.nemesis.case import Case
from zkstore.testing.nemesis.run import Progress

_POLL_S: Final = 0.5
_PLAIN_EVERY_S: Final = 10.0
_END_S: Final = 60.0
_NAME: Final = "crash-test"


class LanesError(Exception):
    """The test itself has failed."""


class Lanes:
    """`count` lanes; each takes one seed after the other until the time is up, at least one.

    `is_replay`: the first case, `first`, is the only one.
    """

    def __init__(self, first: Case, output: Path, count: int, for_s: float, *, is_replay: bool) -> None:
        self.first = first
        self._output = output
        self._count = 1 if is_replay else count
        self._for_s = 0.0 if is_replay else for_s
        self._screen = Screen(sys.stderr, self._for_s or first.for_ms / 1000)
        self._records: list[dict[str, Any]] = []
        self._ended: set[int] = set()

    def run(self) -> list[dict[str, Any]]:
        """All of it; Ctrl-C ends it early. Raises ConfigError and LanesError."""
        context = multiprocessing.get_context("spawn")
        news: Any = context.Queue()
        until_s = time.time() + self._for_s
        processes = [
            context.Process(
                target=_lane,
                args=(replace(self.first, seed=self.first.seed + lane), self._count, lane + 1, self._output),
                kwargs={"until_s": until_s, "news": news},
            )
            for lane in range(self._count)
        ]
        for process in processes:
            process.start()
        try:
            self._listen(news, processes)
        except KeyboardInterrupt:
            self._screen.say("interrupted: what has come to its end is reported")
        finally:
            self._end(processes)
        self._screen.clear()
        return self._records

    def _listen(self, news: Any, processes: list[Any]) -> None:
        while len(self._ended) < self._count:
            try:
                kind, lane, what = news.get(timeout=_POLL_S)
            except queue.Empty:
                dead = [one for one in processes if one.exitcode]
                if dead and news.empty():
                    raise LanesError(f"a lane ended with {dead[0].exitcode}; what it said stands above") from None
            else:
                if kind == "progress":
                    self._screen.note(lane, what)
                elif kind == "text":
                    self._screen.say(f"lane {lane}: {what}")
                elif kind == "record":
                    self._records.append(what)
                    self._screen.done(lane, what)
                else:
                    self._ended.add(lane)
                    if what:
                        raise ConfigError(what)
            self._screen.draw()

    def _end(self, processes: list[Any]) -> None:
        """Lanes that are still there take their servers down."""
        for process in processes:
            if process.is_alive() and len(self._ended) < self._count:
                process.terminate()
        for process in processes:
            process.join(_END_S)
            if process.is_alive():
                process.kill()


def _lane(first: Case, stride: int, lane: int, output: Path, *, until_s: float, news: Any) -> None:
    """One case after the other, in a process of its own."""
    keeping.clean_up_on_sigterm()
    parent = multiprocessing.parent_process()
    case, test_began_s = first, time.time()
    try:
        while case is first or time.time() < until_s:
            record = _play(case, lane, output, news, parent)
            record["began_s"] -= test_began_s
            news.put(("record", lane, record))
            case = replace(case, seed=case.seed + stride)
        news.put(("end", lane, ""))
    except ConfigError as error:
        news.put(("end", lane, str(error)))
    except KeyboardInterrupt:
        os._exit(0)


def _play(case: Case, lane: int, output: Path, news: Any, parent: BaseProcess | None) -> dict[str, Any]:
    began_s = time.time()

    def look(progress: Progress) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit(1)  # Nobody would ever hear of it.
        news.put(("progress", lane, progress))

    def tell(text: str) -> None:
        if text.startswith("FOUND"):
            news.put(("text", lane, text))

    kept = keeping.run_and_keep(case, output, _NAME, tell, look)
    return {
        **kept.outcome.to_json(),
        "lane": lane,
        "began_s": began_s + kept.outcome.timeline.began_us / 1e6,
        "kept": kept.directory and str(kept.directory),
        "case_file": kept.case_file and str(kept.case_file),
    }


class Screen:
    """What a waiting person sees: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, stream: TextIO, for_s: float) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._for_s = for_s
        self._began_s = time.monotonic()
        self._now: dict[int, Progress] = {}
        self._done = [0, 0, 0]
        self._problems = 0
        self._next_s = 0.0
        self._drawn = 0

    def note(self, lane: int, progress: Progress) -> None:
        """How far a lane is."""
        self._now[lane] = progress

    def done(self, lane: int, record: dict[str, Any]) -> None:
        """A run is over."""
        self._now.pop(lane, None)
        for index, count in enumerate((sum(record["struck"].values()), record["starts"], record["calls"])):
            self._done[index] += count
        self._problems += len(record["problems"])

    def draw(self) -> None:
        """Show it, not too often."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_POLL_S if self._is_terminal else _PLAIN_EVERY_S)
        struck, starts, calls = map(sum, zip(self._done, *(one[:3] for one in self._now.values()), strict=True))
        wrong = f"{self._problems} PROBLEMS" if self._problems else "nothing wrong"
        line = (
            f"{now_s - self._began_s:5.0f} s of {self._for_s:.0f}: {struck:,} faults, {starts:,} starts,"
            f" {calls:,} requests, {wrong}{'; the last runs are judged' if now_s > self._began_s + self._for_s else ''}"
        )
        if self._is_terminal:
            self._stream.write("\r" + line.ljust(self._drawn))
            self._drawn = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._stream.write(text + "\n")

    def clear(self) -> None:
        """Take the changing line away."""
        if self._is_terminal and self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0
        self._stream.flush()
