"""``python -m vidjacobi`` is the ``vidjacobi`` command."""

import sys

from vidjacobi.cli.main import main

sys.exit(main())
