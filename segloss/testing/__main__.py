"""python -m segloss.testing [PACKAGE]: the contract of every loss of a catalogue, that of segloss if none is named."""

import sys

from segloss.testing.check import check_catalogue

if __name__ == "__main__":
    checked = check_catalogue(sys.argv[1] if len(sys.argv) > 1 else "segloss")
    print(f"{len(checked.kept)} losses and measures keep the contract")
    for name, says in checked.lacking.items():
        print(f"not checked: {name}: {says}")
