"""Server-sent events out of bytes that arrive in pieces.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations


class EventStream:
    """Collects the data of events; a piece may end anywhere, also inside of a character or a line end."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._skip_newline = False
        self._first = True

    def feed(self, piece: bytes) -> list[str]:
        """Take a piece and return the data of every event that it completes."""
        events: list[str] = []
        for line in self._lines(piece):
            if line:
                self._field(line)
            elif self._data:
                events.append("\n".join(self._data))
                self._data = []
        return events

    def _lines(self, piece: bytes) -> list[str]:
        """Cut complete lines off; they end in CR LF, LF or CR."""
        if self._skip_newline and piece:
            piece = piece[1:] if piece.startswith(b"\n") else piece
            self._skip_newline = False
        buffer = self._rest + piece
        # A CR at the very end may be half a CR LF: the line is complete, an LF that follows is not another.
        self._skip_newline = buffer.endswith(b"\r")
        *complete, self._rest = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines = [line.decode("utf-8", "replace") for line in complete]
        if lines and self._first:
            lines[0] = lines[0].lstrip("\ufeff")
            self._first = False
        return lines

    def _field(self, line: str) -> None:
        name, value = line.partition(":")[::2]
        if name == "data":
            self._data.append(value[1:] if value.startswith(" ") else value)
