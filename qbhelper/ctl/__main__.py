# SPDX-License-Identifier: GPL-2.0-or-later
"""`python3 -m qbhelper.ctl`, as in a virtual environment."""

import sys

from qbhelper.ctl.main import main

sys.exit(main())
