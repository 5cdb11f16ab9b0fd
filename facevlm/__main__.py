"""python -m facevlm"""

import sys

from facevlm.cli import main

sys.exit(main())
