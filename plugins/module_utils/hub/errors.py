# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a model's files. Each message says what was found and which option to set."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be fetched, or what is there cannot be trusted."""


class InvalidNameError(ModelError):
    """A repository, revision or file name that is none."""


class HubUnreachableError(ModelError):
    """No connection to the endpoint."""


class HubUnavailableError(ModelError):
    """The endpoint answers 429 or 5xx, or drops connections, however often it is asked."""


class RepositoryMissingError(ModelError):
    """The endpoint has no such repository, or hides it."""


class RevisionMissingError(ModelError):
    """The repository has no such revision."""


class AccessDeniedError(ModelError):
    """The repository is gated, and the token is missing or has no access."""


class TokenRejectedError(ModelError):
    """The endpoint does not know the token."""


class DiskFullError(ModelError):
    """The file system cannot hold the model."""


class IncompleteError(ModelError):
    """Files that an engine needs are missing or are not what they should be."""


class CorruptError(ModelError):
    """A file's content is not what the Hub states."""


class BusyError(ModelError):
    """Another run works on the same model on this host."""


class AbsentError(ModelError):
    """Offline, and the host does not have the revision."""


class StoppedError(ModelError):
    """Another file's error ended the fetch."""
