"""The HTTP app, and the server around it."""

import contextlib
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Response

import leanrec
from leanrec.data.vocabulary import Id
from leanrec.errors import SettingError
from leanrec.feedback.log import EventLog, ServedList, table_of
from leanrec.feedback.reactions import Reaction, to_events
from leanrec.serving.answers import Served
from leanrec.serving.metrics import Measured, Metrics
from leanrec.serving.pipeline import Pipeline
from leanrec.serving.problems import answer, install
from leanrec.serving.schemas import (
    Added,
    Ask,
    Count,
    EventIn,
    EventsIn,
    EventsOut,
    Health,
    HistoryOut,
    ItemOut,
    ItemsIn,
    ItemsOut,
    ListOut,
    Problem,
    UserOut,
    UsersOut,
    WhyOut,
)
