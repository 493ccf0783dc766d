"""A source of which a job wants only some objects, or some first: what is not wanted never leaves the page where it was listed."""

import msgspec

from bucketpull.domain.exchange import Response
from bucketpull.domain.model import Page, Position, key_of
from bucketpull.domain.selection import Selection
from bucketpull.ports import Source
from bucketpull.sources.derived import DerivedSource


class SelectingSource(DerivedSource):
    """Another source's pages, less what is not wanted.

    A page's digest is then that of its wanted objects: with other rules only pages on which these differ yield work.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        super().__init__(source)
        self._selection = selection
        self.judge = source.judge  # type: ignore[method-assign] # once an object

    def page_here(self, position: Position) -> Page | None:
        """See `Source`."""
        page = self._source.page_here(position)
        return None if page is None else self._chosen(page)

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """See `Source`."""
        return self._chosen(self._source.read_page(position, response, now))

    def _chosen(self, page: Page) -> Page:
        part, selection = page.part, self._selection
        directory = part.directory
        wanted = [
            index
            for index in selection.order.arranged(part)
            if selection.wants(key_of(directory, part.names[index]), part.sizes[index], part.mtimes[index])
        ]
        folders = [name for name in page.directories if selection.may_want_below(key_of(directory, name))]
        excluded = len(part.names) - len(wanted)
        if excluded or not selection.order.is_any:
            part = part.take(wanted)
        return msgspec.structs.replace(page, part=part, directories=folders, excluded=excluded)
