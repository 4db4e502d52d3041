"""What ours is measured beside and does not depend on: ``make bench-...`` installs it."""

from __future__ import annotations

import os

# pipecat logs through loguru, whose default sink would be timed with it. loguru reads this
# when it is imported, which only the modules in here do.
os.environ["LOGURU_AUTOINIT"] = "False"
