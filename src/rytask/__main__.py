"""The entry point of `rytask`."""

from rytask.cli import app
from rytask.platform.errors import CannotRun, Refused, Unavailable


def main() -> None:
    """Run the command line; what cannot run is said in one sentence."""
    try:
        app()
    except Unavailable as away:
        raise SystemExit(f"rytask: {away} `rytask doctor` says what is wrong.") from None
    except (CannotRun, Refused) as refusal:
        raise SystemExit(f"rytask: {refusal}") from None


if __name__ == "__main__":
    main()
