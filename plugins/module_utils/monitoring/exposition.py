"""Prometheus' text format."""

# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class Exposition:
    """Metrics, in the order in which they were described."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str]] = {}
        self._samples: dict[str, list[str]] = {}

    def family(self, name: str, kind: str, text: str) -> None:
        """Describe a metric; one without samples is not written."""
        self._families[name] = (kind, text)
        self._samples[name] = []

    def add(self, name: str, value: float | None, /, **labels: object) -> None:
        """Add a sample, unless its value is not known."""
        if value is not None:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            self._samples[name].append(f"{name}{{{pairs}}} {float(value):.15g}")

    def text(self) -> str:
        """Return all of it."""
        lines = []
        for name, (kind, text) in self._families.items():
            if self._samples[name]:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *self._samples[name]]
        return "".join(f"{line}\n" for line in lines)


def _escaped(text: object) -> str:
    return str("" if text is None else text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
