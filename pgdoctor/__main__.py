"""`python -m pgdoctor`."""

from pgdoctor.cli import main

main()
