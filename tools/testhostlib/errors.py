"""What a user can be told."""

from __future__ import annotations


class LabError(Exception):
    """Something that the user can mend; the message says what and how."""
