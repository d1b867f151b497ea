"""Where `rytask` starts."""

from rytask.cli import app
from rytask.platform.engines import CannotRun
from rytask.platform.errors import Refused
from rytask.platform.migrate import SchemaProblem
from rytask.platform.settings import BadSetting


def main() -> None:
    """Run the command line; what cannot run is said in one sentence."""
    try:
        app()
    except (BadSetting, CannotRun, Refused, SchemaProblem) as refusal:
        raise SystemExit(f"rytask: {refusal}") from None


if __name__ == "__main__":
    main()
