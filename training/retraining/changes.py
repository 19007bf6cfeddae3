"""Which annotations have changed since the model last learned, in a file, so that a restart forgets none.

It knows names and their order. What a change is and when to act on it is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from annotations.storage import replacing

SETTLED = "-"


class Changes:
    """A set of names, each with the number of its latest change. Not safe for several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number: dict[str, int] = {}
        self.last = 0
        """The number of the latest change; it only ever grows."""
        for line in path.read_text("utf-8").splitlines() if path.exists() else []:
            number, _, name = line.partition(" ")
            # A line cut off by a power failure is no change.
            if number.isdecimal() and name:
                self._note(int(number), name)

    def __len__(self) -> int:
        return len(self._number)

    def add(self, names: Iterable[str]) -> None:
        """Note changes; they are in the file when this returns."""
        with self._path.open("a", encoding="utf-8") as out:
            for name in names:
                self._note(self.last + 1, name)
                out.write(f"{self.last} {name}\n")

    def settle(self, upto: int) -> None:
        """Forget the names whose latest change has this number or a lower one."""
        self._number = {name: number for name, number in self._number.items() if number > upto}
        with replacing(self._path) as out:
            # Numbers go on where they were, even when nothing is left.
            out.write(f"{self.last} {SETTLED}\n")
            out.writelines(f"{number} {name}\n" for name, number in self._number.items())

    def _note(self, number: int, name: str) -> None:
        self.last = max(self.last, number)
        if name != SETTLED:
            self._number[name] = number
