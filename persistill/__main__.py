"""The command line as ``python -m persistill``."""

from persistill.cli import main

if __name__ == "__main__":
    main()
