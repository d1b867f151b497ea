"""Where `rytask` starts."""

from rytask.cli import app
from rytask.platform.errors import CannotRun, Refused


def main() -> None:
    """Run the command line; what cannot run is said in one sentence."""
    try:
        app()
    except (CannotRun, Refused) as refusal:
        raise SystemExit(f"rytask: {refusal}") from None


if __name__ == "__main__":
    main()
