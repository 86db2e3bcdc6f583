"""``python -m djinnload``."""

from djinnload.cli import main

if __name__ == "__main__":
    main()
