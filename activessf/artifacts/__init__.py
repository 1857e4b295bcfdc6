"""Stage results on disk: keyed by what they depend on, published whole, made once.

A stage result is a folder `<root>/<stage>/<label>-<key>/`. Its key is the fingerprint of everything that it depends
on, so the same inputs find the same folder, whoever asks; a folder that has its final name is complete.
"""

from activessf.artifacts.fingerprints import content_hash, file_fingerprint, files_fingerprint, fingerprint, readable
from activessf.artifacts.results import INPUTS_FILE, Artifact, artifact

__all__ = [
    "INPUTS_FILE",
    "Artifact",
    "artifact",
    "content_hash",
    "file_fingerprint",
    "files_fingerprint",
    "fingerprint",
    "readable",
]
