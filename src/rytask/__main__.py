"""Where `rytask` starts."""

from rytask.cli import app
from rytask.platform.engines import CannotRun


def main() -> None:
    """Run the command line; what cannot run is said in one sentence."""
    try:
        app()
    except CannotRun as refusal:
        raise SystemExit(f"rytask: {refusal}") from None


if __name__ == "__main__":
    main()
