"""``python -m hsnn``."""

from hsnn.cli import main

if __name__ == "__main__":
    main()
