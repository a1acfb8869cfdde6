# Copyright: the llm.serving maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a server's certificate that OpenSSL refuses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

# As OpenSSL words X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID.
_OF_ANOTHER_TIME = re.compile(r"certificate (?:has expired|is not yet valid)")


def certificate_remedy(
    refusal: str,
    otherwise: str = "Add its authority to the host's trust store.",
    clock: Callable[[], float] = time.time,
) -> str:
    """Return what to do about this refusal: `otherwise`, unless it is about time.

    Then it is more often the host's clock that is wrong than the certificate.
    """
    if not _OF_ANOTHER_TIME.search(refusal):
        return otherwise
    now = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(clock()))
    return f"Set the host's clock, which says {now}; if it is right, have the certificate renewed."
