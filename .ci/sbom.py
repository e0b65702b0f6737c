"""Complete a bill of materials by what a wheel ships: its weights, styles and pictures.

python sbom.py ENVIRONMENT.json WHEEL > BILL.json
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

ASSETS = "stylemix/assets/"
NOTICES = "THIRD_PARTY_NOTICES"


def sha256(data: bytes) -> list[dict[str, str]]:
    """Returns the checksum of a component as CycloneDX has it."""
    return [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]


def main(environment: str, wheel: str) -> None:
    """Prints the bill of an environment with the files of the wheel and the wheel's checksum."""
    bill = json.loads(Path(environment).read_text(encoding="utf-8"))
    own = bill["metadata"]["component"]
    own["version"], own["hashes"] = Path(wheel).name.split("-")[1], sha256(Path(wheel).read_bytes())
    bill["components"] = [c for c in bill["components"] if c["name"] != own["name"]]
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(ASSETS):
                picture = name.endswith(".jpg")
                bill["components"].append(
                    {
                        "type": "data" if picture else "machine-learning-model",
                        "bom-ref": name,
                        "name": name,
                        "version": own["version"],
                        "hashes": sha256(archive.read(name)),
                        "licenses": [{"license": {"name": f"see {NOTICES}"}}],
                    }
                )
    print(json.dumps(bill, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
