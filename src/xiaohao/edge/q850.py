"""Which Q.850 cause goes with which SIP response code where a network gives none.

Sources: RFC 3398 section 7.2.4.1 (mapping of SIP to ISUP), ITU-T Q.850.
"""

from typing import Final

USUAL_CAUSES: Final[dict[int, int]] = {
    403: 21, 404: 1, 408: 102, 410: 22, 480: 18, 484: 28, 486: 17, 487: 16,
    488: 65, 500: 41, 501: 79, 502: 38, 503: 41, 504: 102, 600: 17, 603: 21, 604: 1,
}  # fmt: skip
