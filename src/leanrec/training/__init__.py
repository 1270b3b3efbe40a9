"""The training engine for models fitted by gradient descent (torch); it knows no model by name."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.training.config import TrainingSettings as TrainingSettings
    from leanrec.training.data_parallel import WorkerGroup as WorkerGroup
    from leanrec.training.histories import PackedHistories as PackedHistories
    from leanrec.training.losses import (
        bce as bce,
    )
    from leanrec.training.losses import (
        bpr as bpr,
    )
    from leanrec.training.losses import (
        cross_entropy as cross_entropy,
    )
    from leanrec.training.losses import (
        gbce as gbce,
    )
    from leanrec.training.losses import (
        info_nce as info_nce,
    )
    from leanrec.training.losses import (
        sampled_softmax as sampled_softmax,
    )
    from leanrec.training.negative_sampling import NegativeSampler as NegativeSampler
    from leanrec.training.sharded_embedding import ShardedEmbedding as ShardedEmbedding
    from leanrec.training.trainer import (
        TrainingHistory as TrainingHistory,
    )
    from leanrec.training.trainer import (
        TrainingObjective as TrainingObjective,
    )
    from leanrec.training.trainer import (
        train as train,
    )

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "config": ["TrainingSettings"],
        "data_parallel": ["WorkerGroup"],
        "histories": ["PackedHistories"],
        "losses": ["bce", "bpr", "cross_entropy", "gbce", "info_nce", "sampled_softmax"],
        "negative_sampling": ["NegativeSampler"],
        "sharded_embedding": ["ShardedEmbedding"],
        "trainer": ["TrainingHistory", "TrainingObjective", "train"],
    },
)
