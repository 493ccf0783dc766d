"""`python -m bucketpull` is `bucketpull`."""

from bucketpull.cli.main import main

if __name__ == "__main__":
    main()
