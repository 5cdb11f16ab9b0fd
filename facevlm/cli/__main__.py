"""python -m facevlm.cli"""

import sys

from facevlm.cli import main

sys.exit(main())
