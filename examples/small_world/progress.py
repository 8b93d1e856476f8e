"""Progress bars that say what goes on: one line per stage, with a note such as the current loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


class Progress:
    """The bar of one stage. `track` iterates under the bar, `note` puts a text behind it."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._bar: tqdm | None = None

    def track(self, items: Iterable[Item], total: int, done: int = 0) -> Iterator[Item]:
        """Yield the items while the bar runs from `done` to `total`."""
        with tqdm(
            items, total=total, initial=done, desc=self.stage, mininterval=1, dynamic_ncols=True
        ) as bar:
            self._bar = bar
            yield from bar
            self._bar = None

    def note(self, text: str) -> None:
        """Show a short text behind the bar, redrawn with it."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
