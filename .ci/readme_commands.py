"""Print the n-th set-up command of README.md (1 or 2), exactly as a reader would copy it."""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def commands() -> list[str]:
    """Content of each ``bash`` block in the section *Set up*, in order."""
    text = README.read_text(encoding="utf-8")
    section = text.split("## Set up", 1)[1].split("\n## ", 1)[0]
    return [block.strip() for block in re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)]


if __name__ == "__main__":
    print(commands()[int(sys.argv[1]) - 1])
