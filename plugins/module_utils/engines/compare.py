"""What putting plans to work would change on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .entries import instances
from .keeper import Keeper, System, Wanted


class ImpossibleError(ValueError):
    """Instances that cannot be; the problems are sentences."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def compare(
    system: System,
    plans: Sequence[Mapping[str, Any]],
    deployment: Mapping[str, Any],
    secrets: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Return `actions`, what is to be done to each instance, and `pending`, whether anything differs.

    deployment: the options of the keeper, and `environment`, variables of all instances. secrets: by instance. Raises
    ImpossibleError, and OSError where the host cannot be looked at.
    """
    kept_back = [{"name": name, "secrets": values} for name, values in secrets.items()]
    wanted = Wanted.read(instances(kept_back, plans, deployment["environment"], {}), deployment)
    keeper = Keeper(system, wanted, dry=True)
    problems = keeper.problems()
    if problems:
        raise ImpossibleError(problems)
    return {"actions": keeper.keep(), "pending": keeper.changed}
