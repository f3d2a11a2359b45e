"""Check what a wheel and an sdist in a folder contain: ``python ci/check_dist.py FOLDER``."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

WS = Path(__file__).parent.parent / "ws"


def main(folder: str) -> int:
    """Print what is wrong; return the exit code."""
    (wheel,) = Path(folder).glob("*.whl")
    (sdist,) = Path(folder).glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    sources_of_ws = [*WS.rglob("*.py"), WS / "py.typed"]
    wanted = {path.relative_to(WS.parent).as_posix() for path in sources_of_ws}
    shipped = {name for name in names if ".dist-info/" not in name}
    headers = metadata.partition("\n\n")[0].splitlines()
    faults = [f"{name} is missing in the wheel" for name in sorted(wanted - shipped)]
    faults += [f"{name} is not for the wheel" for name in sorted(shipped - wanted)]
    faults += [f"{name} is missing in the sdist" for name in sorted(wanted - sources)]
    depends = [line for line in headers if line.startswith("Requires-Dist")]
    faults += [f"it depends: {line}" for line in depends if "extra ==" not in line]
    if not any(name.endswith("/LICENSE") for name in names):
        faults.append("LICENSE is missing in the wheel")
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{wheel.name}: {len(shipped)} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
