"""`python -m sgpo.cli`, which torchrun and the flows start."""

from sgpo.cli.main import main

if __name__ == "__main__":
    main()
