"""Training of the demo's checkpoint."""

import sys

from .cli import main

sys.exit(main())
