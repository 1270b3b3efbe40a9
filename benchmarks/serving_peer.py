"""The plain server that leanrec is measured against: FastAPI and implicit, as one writes it in an afternoon.

    python benchmarks/serving_peer.py --interactions FILE.npz [--factors 64]

It answers ``GET /recommend?user=…`` with ids, titles and scores, leaves out seen items, and logs, checks and counts
nothing.
"""

import argparse
import socket

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse


def create_app(interactions: sparse.csr_matrix, titles: list[str], factors: int) -> FastAPI:
    """An app over a fitted model."""
    model = AlternatingLeastSquares(factors=factors, iterations=5, num_threads=1, random_state=0)
    model.fit(interactions, show_progress=False)
    app = FastAPI()

    @app.get("/recommend")
    def recommend(user: int, n: int = 10) -> dict[str, object]:
        if not 0 <= user < interactions.shape[0]:
            raise HTTPException(404, "unknown user")
        items, scores = model.recommend(user, interactions[user], N=n, filter_already_liked_items=True)
        found = zip(items.tolist(), scores.tolist(), strict=True)
        return {"user": user, "items": [{"id": item, "title": titles[item], "score": score} for item, score in found]}

    return app


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--interactions", required=True, help="an .npz file of users × items")
    options.add_argument("--factors", type=int, default=64)
    args = options.parse_args()
    interactions = sparse.csr_matrix(sparse.load_npz(args.interactions), dtype=np.float32)
    titles = [f"Title of item {item}" for item in range(interactions.shape[1])]
    app = create_app(interactions, titles, args.factors)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"peer at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
