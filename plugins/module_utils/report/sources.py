"""Where the control node finds models that no host has told about: a directory, the Hub, the table of known ones."""

from __future__ import annotations

from pathlib import Path

from ..sizing.errors import SizingError
from ..sizing.known_models import KNOWN_MODELS, SOURCE
from ..sizing.model_files import read_model
from ..sizing.plans import ModelFiles
from ..sizing.remote import RemoteHub, UnreachableError
from ..sizing.shape import parse_shape
from .fleet import FoundModel


class ControlNode:
    """Finds each model once, however many hosts want it."""

    def __init__(self, hub: RemoteHub, *, reads_directories: bool) -> None:
        """`reads_directories`: an absolute path means a directory of this machine, not of a host."""
        self._hub = hub
        self._reads_directories = reads_directories
        self._known: dict[tuple[str, str], FoundModel] = {}

    def __call__(self, model: str, revision: str) -> FoundModel:
        """Shape and weights of a directory or a repository."""
        key = (model, revision)
        if key not in self._known:
            try:
                self._known[key] = self._find(model, revision)
            except SizingError as error:
                self._known[key] = FoundModel(None, problem=error.as_dict())
        return self._known[key]

    def _find(self, model: str, revision: str) -> FoundModel:
        if Path(model).is_absolute() or model.startswith((".", "~")):
            if not self._reads_directories:
                raise SizingError(
                    f"there is no model in {model} on the host",
                    expected="a directory with a config.json",
                    remedy="correct model, or name a repository of the Hub",
                )
            return FoundModel(read_model(str(Path(model).expanduser())), model)
        try:
            config, checkpoint = self._hub.read(model, revision)
        except UnreachableError as error:
            known = KNOWN_MODELS.get(model)
            if known is None:
                raise
            remark = f"shape from {SOURCE}, weights computed from it: {error.message} ({error.found})."
            return FoundModel(ModelFiles(parse_shape(known)), SOURCE, remark)
        return FoundModel(ModelFiles(parse_shape(config), checkpoint), f"{self._hub.endpoint}, revision {revision}")
