"""What sizing refuses, in the words of whoever has to mend it."""

from __future__ import annotations


class SizingError(ValueError):
    """A plan cannot be made: what was expected, what was found, and what would help."""

    def __init__(self, message: str, *, expected: str = "", found: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.message.rstrip(".") + "."]
        for label, text in (("Expected", self.expected), ("Found", self.found), ("Remedy", self.remedy)):
            if text:
                parts.append(f"{label}: {text.rstrip('.')}.")
        return " ".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The parts by name, for fail_json."""
        return {
            "message": self.message,
            "expected": self.expected,
            "found": self.found,
            "remedy": self.remedy,
        }
