import sys

from mpose3d.cli import main

sys.exit(main())
