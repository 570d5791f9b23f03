"""python -m keras_fracture.cli."""

import sys

from keras_fracture.cli import main

sys.exit(main())
