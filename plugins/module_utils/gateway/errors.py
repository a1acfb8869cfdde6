"""What is wrong with the operator's description of the gateway."""

from __future__ import annotations


class GatewayError(Exception):
    """The message names the variable to correct."""
