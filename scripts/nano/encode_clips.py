"""Encode the rendered clips that are not encoded yet; train_transformer.py does so once, before it trains.

Run it again while rendering goes on and a transformer trains: the training takes new tokens up every minute.

    python scripts/nano/encode_clips.py
"""

from tokens import add_encoding, encode_splits, with_paths
from training import launch, working_arguments


def main() -> None:
    """Parse the options and start the workers."""
    parser = working_arguments(__doc__)
    add_encoding(parser)
    launch(encode_splits, with_paths(parser.parse_args()))


if __name__ == "__main__":
    main()
