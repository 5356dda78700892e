"""``python -m vidjacobi`` is the ``vidjacobi`` command."""

import sys

from vidjacobi.cli import main

sys.exit(main())
