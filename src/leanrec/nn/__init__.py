"""Neural network layers (torch)."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.nn.activation_checkpointing import checkpoint_blocks as checkpoint_blocks
    from leanrec.nn.arrays import load_arrays as load_arrays
    from leanrec.nn.arrays import to_arrays as to_arrays
    from leanrec.nn.dropout import dropout as dropout
    from leanrec.nn.fields import (
        MLP as MLP,
    )
    from leanrec.nn.fields import (
        CrossLayers as CrossLayers,
    )
    from leanrec.nn.fields import (
        FieldEmbedding as FieldEmbedding,
    )
    from leanrec.nn.fields import (
        FieldNetwork as FieldNetwork,
    )
    from leanrec.nn.fields import (
        dot_interactions as dot_interactions,
    )
    from leanrec.nn.fields import (
        factorization_machine as factorization_machine,
    )
    from leanrec.nn.recurrence import linear_recurrence as linear_recurrence
    from leanrec.nn.relation_layers import RelationLayers as RelationLayers
    from leanrec.nn.transformer import TransformerBlock as TransformerBlock

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "activation_checkpointing": ["checkpoint_blocks"],
        "arrays": ["load_arrays", "to_arrays"],
        "dropout": ["dropout"],
        "fields": ["MLP", "CrossLayers", "FieldEmbedding", "FieldNetwork", "dot_interactions", "factorization_machine"],
        "recurrence": ["linear_recurrence"],
        "relation_layers": ["RelationLayers"],
        "transformer": ["TransformerBlock"],
    },
)
