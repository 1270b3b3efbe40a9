"""Features of items and users from the columns of a table."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.features.base import Feature as Feature
    from leanrec.features.base import FittedFeature as FittedFeature
    from leanrec.features.categorical import MultiLabelEncoder as MultiLabelEncoder
    from leanrec.features.categorical import OneHotEncoder as OneHotEncoder
    from leanrec.features.column_types import infer_column_types as infer_column_types
    from leanrec.features.embedding import StaticEmbedding as StaticEmbedding
    from leanrec.features.numeric import QuantileBins as QuantileBins
    from leanrec.features.numeric import StandardScaler as StandardScaler
    from leanrec.features.pipeline import (
        FeatureBlock as FeatureBlock,
    )
    from leanrec.features.pipeline import (
        FeatureSpec as FeatureSpec,
    )
    from leanrec.features.pipeline import (
        FittedFeatures as FittedFeatures,
    )
    from leanrec.features.reduction import TruncatedSVD as TruncatedSVD
    from leanrec.features.selection import (
        FeatureSelector as FeatureSelector,
    )
    from leanrec.features.selection import (
        group_by_audience as group_by_audience,
    )
    from leanrec.features.selection import (
        group_by_popularity as group_by_popularity,
    )
    from leanrec.features.sentiment import SentimentScore as SentimentScore
    from leanrec.features.temporal import RecencyDecay as RecencyDecay
    from leanrec.features.temporal import TimeOfDay as TimeOfDay
    from leanrec.features.text import HashedText as HashedText
    from leanrec.features.text import TfIdf as TfIdf
    from leanrec.features.tokenization import tokenize as tokenize
    from leanrec.features.topics import TopicModel as TopicModel

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "base": ["Feature", "FittedFeature"],
        "categorical": ["MultiLabelEncoder", "OneHotEncoder"],
        "column_types": ["infer_column_types"],
        "embedding": ["StaticEmbedding"],
        "numeric": ["QuantileBins", "StandardScaler"],
        "pipeline": ["FeatureBlock", "FeatureSpec", "FittedFeatures"],
        "reduction": ["TruncatedSVD"],
        "selection": ["FeatureSelector", "group_by_audience", "group_by_popularity"],
        "sentiment": ["SentimentScore"],
        "temporal": ["RecencyDecay", "TimeOfDay"],
        "text": ["HashedText", "TfIdf"],
        "tokenization": ["tokenize"],
        "topics": ["TopicModel"],
    },
)
